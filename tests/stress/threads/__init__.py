"""Threads that record, end and scrape the same things at the same time."""
