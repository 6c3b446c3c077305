"""Text on a terminal: what strangers wrote is escaped."""

from __future__ import annotations

__all__ = ["safe"]


def safe(text: str) -> str:
    """Return a text with everything escaped that a terminal does not print as a character."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
