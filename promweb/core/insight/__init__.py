"""The metrics of waiting, the event loop, threads and background tasks."""
