"""WSGI and ASGI without a framework."""
