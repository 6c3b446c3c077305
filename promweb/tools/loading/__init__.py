"""Importing an application to inspect it: how to find it, its settings, what it exposes."""
