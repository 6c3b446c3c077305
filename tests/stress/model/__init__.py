"""A model of promweb, and random programs that are run against both."""
