"""Sends the same requests to two services, one after the other, and compares the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPException

from ...scrapes.parsing import ScrapeError, one_line
from ..replay.requests_file import Request
from ..replay.sender import Sender
from .differences import Difference, Differences, Level, listed

__all__ = ["replay"]

_PATIENCE = 5
"""Give up after this many requests in a row without an answer."""


def replay(
    requests: Iterable[Request],
    old: Sender,
    new: Sender,
    *,
    rate: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Differences:
    """Send each request to both services, at most `rate` per second, and compare statuses.

    Raises `ScrapeError` if a service no longer answers.
    """
    others: dict[str, list[str]] = {}
    silent = {old: 0, new: 0}
    following = clock()
    for request in requests:
        sleep(max(following - clock(), 0.0))
        following = max(following, clock()) + 1 / rate
        statuses = [_status(sender, request, silent) for sender in (old, new)]
        if statuses[0] != statuses[1]:
            said = f"answered {statuses[0]} by OLD and {statuses[1]} by NEW"
            others.setdefault(said, []).append(str(request))
    yield from _found(others)


def _status(sender: Sender, request: Request, silent: dict[Sender, int]) -> str:
    try:
        status = str(sender.send(request))
    except (OSError, HTTPException) as error:
        silent[sender] += 1
        if silent[sender] >= _PATIENCE:
            said = f"{sender.url} did not answer {_PATIENCE} requests in a row: {one_line(error)}"
            raise ScrapeError(said) from error
        return f"not at all ({one_line(error)})"
    silent[sender] = 0
    return status


def _found(others: dict[str, list[str]]) -> Iterator[Difference]:
    for said, requests in others.items():
        what = f"{listed(dict.fromkeys(requests))}: {said}"
        yield Difference(Level.BREAKS, "answer", "", what)
