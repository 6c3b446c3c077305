"""Native histograms: sparse buckets whose bounds follow from a schema."""
