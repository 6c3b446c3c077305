"""The framework-neutral half of promweb: state, definitions, labels and rendering.

Nothing in this package imports a web framework or an event loop, or does I/O.
"""
