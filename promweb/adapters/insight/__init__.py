"""What happens around requests on Quart: the event loop, threads, background tasks."""
