"""Dead workers: what they counted goes into one file of each kind."""

from __future__ import annotations

from .reading import FileReader

__all__ = ["absorbed"]


def absorbed(reader: FileReader) -> frozenset[tuple[str, int]]:
    """Return the names and inodes of the files that are in a folded file already."""
    return frozenset()
