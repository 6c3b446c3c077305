"""Programs for people: the command line, the doctor, dashboards and rules."""
