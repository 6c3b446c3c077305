"""The framework-neutral half of promweb: state, definitions, label resolution and rendering.

Nothing below this package imports a web framework or an event loop, or does I/O.
"""
