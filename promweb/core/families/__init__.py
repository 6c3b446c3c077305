"""The numbers: children, families, their catalog, the storage seam, self-metrics."""
