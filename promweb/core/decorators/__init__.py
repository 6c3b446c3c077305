"""Measures decorated calls, with wrappers that keep the kind of callable."""
