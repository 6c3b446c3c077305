"""The numbers: label sets, families, the catalog of a registry, the storage seam, self-metrics."""
