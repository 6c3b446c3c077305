"""What happens around requests: waiting, the event loop, threads, background tasks."""
