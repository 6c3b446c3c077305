"""The separate HTTP server."""
