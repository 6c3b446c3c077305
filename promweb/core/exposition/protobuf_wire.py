"""Protobuf's wire format: the few kinds of fields that Prometheus' messages have."""

from __future__ import annotations

import struct
from collections.abc import Iterable

__all__ = ["count", "double", "message", "packed_signed", "signed", "text", "varint"]

_ONE_BYTE = [bytes([number]) for number in range(128)]

_VARINT, _DOUBLE, _LENGTH = 0, 1, 2
"""Wire types, which tell how a field is encoded."""

_pack_double = struct.Struct("<d").pack


def varint(number: int) -> bytes:
    """Return a number of at least 0, seven bits to a byte, the lowest first."""
    if number < 128:
        return _ONE_BYTE[number]
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def message(field: int, content: bytes) -> bytes:
    """Return a field that has a length: a message, text in UTF-8, or packed numbers."""
    return varint(field << 3 | _LENGTH) + varint(len(content)) + content


def text(field: int, value: str) -> bytes:
    """Return a field of text."""
    return message(field, value.encode())


def double(field: int, value: float) -> bytes:
    """Return a field of eight bytes."""
    return varint(field << 3 | _DOUBLE) + _pack_double(value)


def count(field: int, number: int) -> bytes:
    """Return a field with a number; one below 0 takes ten bytes."""
    return varint(field << 3 | _VARINT) + varint(number & 0xFFFF_FFFF_FFFF_FFFF)


def signed(field: int, number: int) -> bytes:
    """Return a field of the type `sint32`, whose small negative numbers are short, too."""
    return varint(field << 3 | _VARINT) + varint(_zigzag(number))


def packed_signed(field: int, numbers: Iterable[int]) -> bytes:
    """Return a repeated field of `sint32`."""
    return message(field, b"".join([varint(_zigzag(number)) for number in numbers]))


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else ~number << 1 | 1
