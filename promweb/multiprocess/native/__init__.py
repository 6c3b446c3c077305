"""Native histograms of several workers: their buckets in files, and what a scrape makes of them."""
