"""The report of `promweb top --once`: totals since the processes started, from one scrape each.

`docs/command-line.md` documents the format; fields never go, and more may be added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from .snapshot import Snapshot, Sockets
from .tally import QUANTILES, Tally
from .traffic import by_route

__all__ = ["report"]


_UNKNOWN = Tally(math.nan, math.nan, math.nan)


def report(outcomes: Mapping[str, Snapshot | str]) -> dict[str, Any]:
    """Make a JSON-ready report of each URL's snapshot, or error.

    Routes are sorted by name, those that hold the event loop by how long they did. A value that the
    service does not expose is `None`.
    """
    up = [one for one in outcomes.values() if isinstance(one, Snapshot)]
    in_progress = [one.in_progress for one in up if one.in_progress is not None]
    exceptions = [one.exceptions for one in up if one.exceptions is not None]
    sockets: dict[str, Sockets] = {}
    for one in up:
        for route, more in one.sockets.items():
            sockets[route] = sockets.get(route, Sockets()) + more
    return {
        "version": 1,
        "requests": _requests(Tally.total(one.total for one in up) if up else _UNKNOWN),
        "exceptions": _number(sum(exceptions)) if exceptions else None,
        "in_progress": _number(sum(in_progress)) if in_progress else None,
        "routes": [
            {"route": route, **_requests(tally)} for route, tally in sorted(by_route(up).items())
        ],
        "websockets": [
            {
                "route": route,
                "open": _number(one.open),
                "closed": _number(one.closed),
                "received": _number(one.received),
                "sent": _number(one.sent),
            }
            for route, one in sorted(sockets.items())
        ],
        "event_loop": [
            {"route": route, "seconds": _number(tally.seconds), **_quantiles(tally)}
            for route, tally in sorted(
                _all(one.loops for one in up).items(), key=lambda item: (-item[1].seconds, item[0])
            )
        ],
        "waits": [
            {"for": what, "count": _number(tally.count), **_quantiles(tally)}
            for what, tally in sorted(_all(one.waits for one in up).items())
        ],
        "workers": [
            {
                "url": url,
                "labels": dict(labels),
                "resident_memory_bytes": _number(worker.memory),
                "cpu_seconds": _number(worker.cpu),
                "open_fds": _number(worker.files),
            }
            for url, one in outcomes.items()
            if isinstance(one, Snapshot)
            for labels, worker in sorted(one.workers.items())
        ],
        "urls": [_url(url, outcome) for url, outcome in outcomes.items()],
    }


def _url(url: str, outcome: Snapshot | str) -> dict[str, Any]:
    if isinstance(outcome, str):
        return {
            "url": url,
            "up": False,
            "error": outcome,
            "prefix": None,
            "group": None,
            "requests": None,
        }
    return {
        "url": url,
        "up": True,
        "error": None,
        "prefix": outcome.prefix,
        "group": outcome.group,
        "requests": _requests(outcome.total),
    }


def _requests(tally: Tally) -> dict[str, int | float | None]:
    return {
        "count": _number(tally.count),
        "errors": _number(tally.errors),
        "seconds": _number(tally.seconds),
        **_quantiles(tally),
    }


def _quantiles(tally: Tally) -> dict[str, int | float | None]:
    return {name: _number(tally.quantile(q)) for name, q in QUANTILES.items()}


def _all(found: Iterable[Mapping[str, Tally]]) -> dict[str, Tally]:
    """Add up what several services have of the same names."""
    everything = list(found)
    names = {name for one in everything for name in one}
    return {name: Tally.total(one[name] for one in everything if name in one) for name in names}


def _number(value: float | None) -> int | float | None:
    """Return a number as JSON can write it; whole numbers without a point."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else value
