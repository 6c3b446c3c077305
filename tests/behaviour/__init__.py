"""Behaviour that all frameworks share; one file for each."""
