"""Processes and their files: who lives, which run is over, and what becomes of dead files."""
