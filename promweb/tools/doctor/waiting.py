"""Checks how long requests waited for a worker, for the event loop, for a thread."""

from __future__ import annotations

from ...core.insight import loop, process, queue_time
from ...scrapes.counts import histograms
from ...scrapes.parsing import Exposition
from .findings import Findings, warning

__all__ = ["check_waiting"]

_SHOWN = 5
"""Routes that are named at most."""
_BLOCKS = 0.1
"""Seconds that one request in a hundred may hold the event loop."""

# The family, the quantile and its limit in seconds, the check, what it says, why, the remedy.
_WAITS = (
    (
        process.LAG,
        0.99,
        0.25,
        "event-loop",
        "One timer in a hundred ran {seconds:.2g} s late or more.",
        "Something holds the event loop, or the processor is full; every request waits for it.",
        "The logger promweb names the lines that block, with event_loop=True.",
    ),
    (
        queue_time.NAME,
        0.95,
        0.25,
        "queue-time",
        "One request in twenty waited {seconds:.2g} s or more before the application was called.",
        "There are too few workers or threads for the requests; their durations do not show it.",
        "Add workers, threads or instances; or see which requests hold them.",
    ),
    (
        process.THREAD_WAIT,
        0.95,
        0.1,
        "threads",
        "One call in twenty waited {seconds:.2g} s or more for a thread.",
        "Plain views of Quart share min(32, cores + 4) threads.",
        "Make the views coroutine functions, or set a default executor with more threads.",
    ),
)


def check_waiting(exposition: Exposition) -> Findings:
    """Check what waited since the processes started."""
    samples = exposition.samples
    for family, q, limit, check, what, why, remedy in _WAITS:
        for name in sorted(exposition.families):
            if name.endswith(family):
                for tally in histograms(samples, name).values():
                    seconds = tally.quantile(q)
                    if seconds is not None and seconds > limit:
                        yield warning(check, what.format(seconds=seconds), why, remedy)
    for name in sorted(exposition.families):
        if name.endswith(loop.BLOCK):
            slow = [
                " ".join(value for _, value in labels)
                for labels, tally in sorted(histograms(samples, name).items())
                if (tally.quantile(0.99) or 0.0) > _BLOCKS
            ]
            if slow:
                more = f" and {len(slow) - _SHOWN} more" if len(slow) > _SHOWN else ""
                yield warning(
                    "event-loop",
                    f"Requests hold the event loop: {', '.join(slow[:_SHOWN])}{more}.",
                    f"One in a hundred held it for more than {_BLOCKS:g} s without a break, and "
                    "all others waited.",
                    "The logger promweb names the line. Await what it waits for, or move it to a "
                    "thread with asyncio.to_thread.",
                )
