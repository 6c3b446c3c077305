"""Behaviour of Connexion alone."""
