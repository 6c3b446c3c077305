"""Numbers as the text formats write them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.utils import floatToGoString

__all__ = ["text_of", "texts_of_counts"]


def text_of(value: float) -> str:
    """Return a number as prometheus_client's encoders write it."""
    if -1e6 < value < 1e6:  # beyond, they write exponents and Python does not
        return repr(float(value))
    return floatToGoString(value)  # type: ignore[no-any-return,no-untyped-call]


def texts_of_counts(buckets: Sequence[float]) -> list[str]:
    """Return the cumulative counts of buckets; many are like the one before."""
    texts = []
    last: float | None = None
    text = ""
    for count in accumulate(buckets):
        if count != last:
            last, text = count, _COUNTS.get(count) or text_of(count)
        texts.append(text)
    return texts


_COUNTS: dict[float, str] = {count: text_of(count) for count in range(1000)}
"""The texts of small counts, which most buckets of most label sets have."""
