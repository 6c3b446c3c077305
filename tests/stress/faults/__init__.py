"""Faults, injected at every seam: no request notices, and what can be counted is counted once."""
