"""What promweb and its peers do with the same requests, found out by sending them.

`peers` says how each library is attached, `flask_questions` and `quart_questions` what is asked of
it, and `__main__` prints the answers as the tables of `docs/comparison.md`.
"""
