"""The commands: one module each, listed in `group.py`."""
