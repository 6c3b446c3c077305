"""Requests that the application never saw, because middleware answered in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["MIDDLEWARE", "UnseenRequest"]

MIDDLEWARE = "<middleware>"
"""The group of a request that middleware answered in the application's place."""


class UnseenRequest(NamedTuple):
    """The server's facts about a request, in place of the framework's object."""

    method: str
    path: str
    scheme: str
    http_version: str
    environ: Mapping[str, object]
    url_rule: None = None
