"""The separate HTTP server."""

from __future__ import annotations

from .http import MetricsServer, serve

__all__ = ["MetricsServer", "serve"]
