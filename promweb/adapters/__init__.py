"""One thin module per framework: it turns a request's lifecycle into exchanges."""
