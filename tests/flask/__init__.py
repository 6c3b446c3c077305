"""What is true of Flask and WSGI only."""
