"""A default family as data: its name, and what of a request is recorded in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..families.family import Family
from ..families.kinds import HistogramFamily
from ..requests.exchange import Exchange

__all__ = [
    "SIZE_BUCKETS",
    "Amount",
    "Row",
    "request_size",
    "response_size",
    "response_start",
]

SIZE_BUCKETS = tuple(4**power for power in range(3, 14))
"""Upper bounds for sizes, in bytes: 64 B to 64 MiB."""

Amount = Callable[[Exchange, float], float]
"""Returns the amount to record for a request that took some seconds, which are never negative."""


class Row(NamedTuple):
    """One family that records requests when they have ended."""

    name: str
    documentation: str
    amount: Amount | None = None
    """Returns the amount of an exchange to record; None means its seconds."""
    buckets: Iterable[float | str] | None = None
    """Upper bounds of a histogram; None for prometheus_client's."""
    kind: type[Family[Any]] = HistogramFamily
    option: str = ""
    """The constructor's argument that asks for the family; "" if it is always there."""
    has_group: bool = True
    """Whether the group is one of its labels."""
    failures_only: bool = False
    total: tuple[str, str] | None = None
    """Name and help of a counter of this family's observations, summed over the groups."""


def request_size(exchange: Exchange, seconds: float) -> float:
    """Return the bytes of a request's body."""
    return 0 if exchange.sizes is None else exchange.sizes.request


def response_size(exchange: Exchange, seconds: float) -> float:
    """Return the bytes of a response's body that were sent."""
    return 0 if exchange.sizes is None else exchange.sizes.response


def response_start(exchange: Exchange, seconds: float) -> float:
    """Return the seconds to the first byte of the body, or to the end without a body."""
    sizes = exchange.sizes
    if sizes is None or sizes.started is None:
        return seconds
    return max(sizes.started - exchange.start, 0.0)
