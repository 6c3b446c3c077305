"""Files of numbers: their names and locks, how entries are written, how one file is read."""
