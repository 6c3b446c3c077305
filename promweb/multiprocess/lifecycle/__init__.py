"""Processes and their files: which processes live, which runs are over, how files compact."""
