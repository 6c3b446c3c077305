"""What is true on every framework; one file for each behaviour."""
