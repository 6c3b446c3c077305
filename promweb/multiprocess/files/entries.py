"""The format of a file: a header, then an entry for each number.

header   4 bytes: how many bytes of the file are used, the header included; 4 of padding
entry    4 bytes: length of the key; the key; padding to 8 bytes; the number; its timestamp
"""

from __future__ import annotations

import struct

from .client_library import HAS_TIMESTAMPS

__all__ = ["HEADER", "STRIDE", "entry", "header"]

HEADER = 8
"""Bytes before the first entry."""

STRIDE = 16 if HAS_TIMESTAMPS else 8
"""Bytes of a number, with its timestamp if it has one."""


def header(used: int) -> bytes:
    """Return the header of a file with this many used bytes."""
    return struct.pack("=ii", used, 0)


def entry(key: bytes, value: float = 0.0, timestamp: float = 0.0) -> bytes:
    """Return the entry of a number."""
    padded = key + b" " * (8 - (len(key) + 4) % 8)
    numbers = (value, timestamp)[: STRIDE // 8]
    return struct.pack(f"=i{len(padded)}s{len(numbers)}d", len(key), padded, *numbers)
