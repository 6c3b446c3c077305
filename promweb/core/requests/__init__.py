"""One request, one connection, one application."""
