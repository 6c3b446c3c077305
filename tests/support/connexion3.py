"""Connexion 3, imported without the deprecation warnings that its own imports cause."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.filterwarnings("ignore", "Using `httpx`")
    import connexion
    from connexion.exceptions import ProblemException as Problem
    from connexion.lifecycle import ConnexionResponse
    from connexion.middleware import MiddlewarePosition
    from connexion.resolver import Resolver

__all__ = ["ConnexionResponse", "MiddlewarePosition", "Problem", "Resolver", "connexion"]
