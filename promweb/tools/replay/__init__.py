"""Requests that are sent again: what they are read from, and how they are sent."""
