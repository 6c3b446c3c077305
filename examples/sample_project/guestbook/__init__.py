"""A guest book, on Flask and on Quart, and a job that clears it."""
