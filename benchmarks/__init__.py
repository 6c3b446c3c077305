"""What promweb costs, beside doing without it and beside its peers.

`python -m benchmarks` prints a table for each goal; docs/performance.md says how to read them.
"""
