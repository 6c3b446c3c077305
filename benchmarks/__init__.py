"""Measures the cost of promweb, next to a bare application and to its peers.

`python -m benchmarks` prints a table for each goal; docs/performance.md says how to read them.
"""
