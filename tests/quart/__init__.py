"""Behaviour of Quart and ASGI alone."""
