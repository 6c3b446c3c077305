"""Measures Quart's event loop, threads and background tasks."""
