"""Replaying requests: reading them from a file, and sending them."""
