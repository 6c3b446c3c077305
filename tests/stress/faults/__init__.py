"""Faults, injected at every seam: no request notices, and counts stay right if possible."""
