"""One thin module for each framework: it turns a request's lifecycle into exchanges."""
