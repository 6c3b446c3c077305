"""Compares promweb with its peers by sending all of them the same requests.

`peers` says how each library is attached, `flask_questions` and `quart_questions` what is asked of
it, and `__main__` prints the answers as the tables of `docs/comparison.md`.
"""
