"""The commands; `group.py` has the list of them, each lives in a module of its own."""
