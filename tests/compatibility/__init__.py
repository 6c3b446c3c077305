"""Flask's and Quart's extensions beside promweb: does either change the other's behaviour?

Each program in `flask_*` and `quart_*` uses one extension and lists requests. `comparing` sends
them to the bare application, and to one that promweb measures, attached before the extension or
after it. `python -m tests.compatibility` prints the table of `docs/compatibility.md`.
"""
