"""What is recorded of a request in each of the default families."""

from __future__ import annotations

from collections.abc import Callable

from ..requests.exchange import Exchange

__all__ = ["Amount", "request_size", "response_size", "response_start"]

Amount = Callable[[Exchange, float], float]
"""Returns what to record of a request that took some seconds, which are never negative."""


def request_size(exchange: Exchange, seconds: float) -> float:
    """Return the bytes of a request's body."""
    return 0 if exchange.sizes is None else exchange.sizes.request


def response_size(exchange: Exchange, seconds: float) -> float:
    """Return the bytes of a response's body that were sent."""
    return 0 if exchange.sizes is None else exchange.sizes.response


def response_start(exchange: Exchange, seconds: float) -> float:
    """Return the seconds to the first byte of the body, or to the end where there was none."""
    sizes = exchange.sizes
    if sizes is None or sizes.started is None:
        return seconds
    return max(sizes.started - exchange.start, 0.0)
