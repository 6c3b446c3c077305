"""The methods of HTTP, as a label."""

from __future__ import annotations

__all__ = ["METHODS", "OTHER", "standard_method"]

OTHER = "<other>"
"""The method label of every method that HTTP does not define."""

METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
)
"""The methods that HTTP defines: RFC 9110, section 9, and PATCH of RFC 5789."""


def standard_method(method: str) -> str:
    """Return a method that HTTP defines, `<other>` for one that a client invented."""
    return method if method in METHODS else OTHER
