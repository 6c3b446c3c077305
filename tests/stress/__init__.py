"""Random programs, faults at every step, attacks and load."""
