"""Compares promweb with its peers by sending all of them the same requests.

`peers` attaches each library, `flask_questions` and `quart_questions` ask it, and `__main__` prints
the answers as the tables of `docs/comparison.md`.
"""
