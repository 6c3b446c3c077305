"""Differences between two expositions, and which queries they break."""
