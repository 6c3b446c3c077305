"""What is true of Quart and ASGI only."""
