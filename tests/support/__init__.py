"""Shared by tests: applications, clients, servers, and programs that they drive."""
