"""The default metrics: namings, grouping, one recorder."""
