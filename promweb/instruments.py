"""The types of instruments, for annotations. A metrics object makes the instruments.

from promweb.instruments import Counter

def sell(orders: Counter) -> None:
    orders.inc(kind="gift")
"""

from __future__ import annotations

from .core.decorators.instruments import Counter, Gauge, Histogram, Summary

__all__ = ["Counter", "Gauge", "Histogram", "Summary"]
