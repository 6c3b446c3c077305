"""The command line: `top`, `doctor`, `dashboard`, `rules`; and promweb.testing."""
