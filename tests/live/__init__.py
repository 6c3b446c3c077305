"""The live page: its routes, and what a browser shows."""
