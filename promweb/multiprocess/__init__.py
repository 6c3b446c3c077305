"""Metrics of several worker processes: in files of one directory, served by any of them."""
