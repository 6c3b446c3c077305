"""The sizes of bodies in HTTP, whatever the interface."""

from __future__ import annotations

__all__ = ["announced_size", "sends_body"]


def announced_size(content_length: str | bytes) -> int | None:
    """Return the number in a Content-Length header; None if it is malformed or absurd."""
    if content_length.isdigit() and len(content_length) < 20:
        return int(content_length)
    return None


def sends_body(method: str, status: int) -> bool:
    """Return whether a server sends the body that a response may have (RFC 9110, 6.4.1)."""
    return method != "HEAD" and status not in (204, 304) and status >= 200
