"""Connexion 3: an ASGI stack around Flask, which decides on the response."""

from __future__ import annotations

from .flask import PrometheusMetrics

__all__ = ["ConnexionPrometheusMetrics"]


class ConnexionPrometheusMetrics(PrometheusMetrics):
    """`PrometheusMetrics` for a `connexion.FlaskApp`."""
