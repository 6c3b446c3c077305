"""Checks of how promweb is used: of an environment, an application, a running service."""
