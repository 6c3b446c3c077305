"""Behaviour of Flask and WSGI alone."""
