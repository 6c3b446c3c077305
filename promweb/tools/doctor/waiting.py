"""Checks how long requests waited for a worker, for the event loop, for a thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ...core.insight import loop, process, queue_time
from ...scrapes.counts import Labels, histograms
from ...scrapes.parsing import Exposition
from ...scrapes.tally import Tally
from .findings import Findings, ok, warning

__all__ = ["WAITS", "check_waiting"]

_SHOWN = 5
"""Routes that are named at most."""
_ENOUGH = 3
"""With fewer slow calls the share of slow ones is chance: the first call of a route is slow."""


class Wait(NamedTuple):
    """A family with times, and how many of them may be above a limit."""

    family: str
    share: float
    limit: float
    """In seconds."""
    check: str
    what: str
    why: str
    remedy: str
    has_routes: bool = False


WAITS = (
    Wait(
        process.LAG,
        0.01,
        0.25,
        "event-loop",
        "Timers ran late by more than",
        "Something holds the event loop, or the processor is full; every request waits for it.",
        "The logger promweb names the lines that block, with event_loop=True.",
    ),
    Wait(
        queue_time.NAME,
        0.05,
        0.25,
        "queue-time",
        "Requests waited before the application was called, for more than",
        "There are too few workers or threads for the requests; their durations do not show it.",
        "Add workers, threads or instances; or see which requests hold them.",
    ),
    Wait(
        process.THREAD_WAIT,
        0.05,
        0.1,
        "threads",
        "Calls waited for a thread, for more than",
        "Plain views of Quart share the threads of the default executor, min(32, cores + 4) unless "
        "the application has set another.",
        "Make the views coroutine functions, or set a default executor with more threads, such as "
        "metrics.thread_pool(40).",
    ),
    Wait(
        loop.BLOCK,
        0.01,
        0.1,
        "event-loop",
        "Requests held the event loop without a break, for more than",
        "All other requests waited meanwhile.",
        "The logger promweb names the line. Await what it waits for, or move it to a thread with "
        "asyncio.to_thread.",
        has_routes=True,
    ),
)
"""The checks, in this order."""


def check_waiting(exposition: Exposition) -> Findings:
    """Check what waited since the processes started."""
    for wait in WAITS:
        for name in sorted(exposition.families):
            if name.endswith(wait.family):
                yield from _check(wait, histograms(exposition.samples, name))


def _check(wait: Wait, tallies: Mapping[Labels, Tally]) -> Findings:
    slow = list(_slow(wait, tallies))
    many = [text for text, count in slow if count >= _ENOUGH]
    few = [text for text, count in slow if count < _ENOUGH]
    if many:
        yield warning(wait.check, _said(wait, many), wait.why, wait.remedy)
    if few:
        yield ok(wait.check, f"{_said(wait, few)} These are too few to judge.")


def _slow(wait: Wait, tallies: Mapping[Labels, Tally]) -> Iterator[tuple[str, int]]:
    """Yield the series with too many times above the limit, in words, and how many these are."""
    for labels, tally in sorted(tallies.items()):
        if (tally.quantile(1 - wait.share) or 0.0) > wait.limit:
            below = (count for bound, count in tally.buckets.items() if bound <= wait.limit)
            slow = round(tally.count - max(below, default=0.0))
            route = " ".join(value for _, value in labels) if wait.has_routes else ""
            yield f"{route}{' ' if route else ''}{slow:,} of {tally.count:,.0f}", slow


def _said(wait: Wait, found: list[str]) -> str:
    more = f" and {len(found) - _SHOWN} more routes" if len(found) > _SHOWN else ""
    return f"{wait.what} {wait.limit:g} s: {', '.join(found[:_SHOWN])}{more}."
