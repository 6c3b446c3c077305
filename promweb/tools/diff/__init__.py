"""What of an exposition is different in another one, and what that breaks."""
