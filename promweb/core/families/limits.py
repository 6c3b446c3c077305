"""Bounds: how long a label value may be, and how many label sets may overflow."""

from __future__ import annotations

__all__ = [
    "MAX_LABEL_BYTES",
    "OVERFLOW",
    "LabelValues",
    "encodable",
    "reserved",
    "without_long",
]

LabelValues = tuple[str, ...]

OVERFLOW = "<overflow>"
"""Replaces request-derived label values if a family is full or a value too long."""

MAX_LABEL_BYTES = 256
"""The most bytes that a label value from a request may have in UTF-8.

A longer one becomes `<overflow>`. Cutting it would not help: a client could send any number of
different beginnings.
"""


def reserved(max_series: int) -> int:
    """Return how many places of a family are reserved for label sets with `<overflow>`."""
    return max(2, max_series // 10)


def without_long(values: LabelValues, overflow: LabelValues) -> LabelValues:
    """Replace the values that are too long, except the program's own constants."""
    return tuple(
        OVERFLOW if _is_long(value) and value != constant else value
        for value, constant in zip(values, overflow or (OVERFLOW,) * len(values), strict=True)
    )


def encodable(value: str) -> str:
    """Replace lone surrogates: UTF-8 cannot encode them, so they would break every scrape."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def _is_long(value: str) -> bool:
    if value.isascii() or len(value) > MAX_LABEL_BYTES:
        return len(value) > MAX_LABEL_BYTES
    return len(value.encode("utf-8", "replace")) > MAX_LABEL_BYTES
