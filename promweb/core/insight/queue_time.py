"""How long requests waited before the application was called, as a proxy's header says."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..families.catalog import Catalog
from ..families.kinds import HistogramFamily
from ..labels.early import early_plan
from ..options import Options
from ..requests.excluding import excludes
from ..requests.scope import Scope
from ..requests.site import Site

__all__ = ["BUCKETS", "HEADERS", "NAME", "QueueTime", "read_stamp"]

NAME = "http_request_queue_seconds"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Upper bounds, in seconds."""

HEADERS = ("X-Request-Start", "X-Queue-Start", "X-Request-Received")
"""The headers that proxies and platforms have for the time at which they took a request."""

OLDEST = 3600.0
"""A header that is more seconds old than this is wrong."""
SKEW = 1.0
"""Seconds that a proxy's clock may be ahead of this one's."""

_SECONDS = 1e11
"""Below this number a time since 1970 is in seconds."""
_UNITS = ((1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
"""Below which numbers it is in milli-, micro- and nanoseconds, and how many make a second."""


class QueueTime:
    """The family of one prefix, and how a request is recorded in it."""

    def __init__(self, prefix: str, options: Options, *, coroutines: bool) -> None:
        catalog = Catalog.of(options.registry)
        self._problems = catalog.problems
        self._excludes = excludes(options)
        given = options.queue_time
        self._headers = (given,) if isinstance(given, str) else HEADERS
        self._plan = early_plan(
            prefix + NAME, {}, options.default_labels, self._problems, coroutines=coroutines
        )
        self._family = catalog.add(
            options.registry,
            HistogramFamily(
                prefix + NAME,
                "Time that HTTP requests waited before the application was called in seconds",
                self._plan.names,
                buckets=BUCKETS,
                max_series=options.max_series,
            ),
        )

    def preparation(self, site: Site) -> Callable[[Scope], None]:
        """Return what records a request of an application when it reaches the dispatch."""
        header, clock, wall = site.header_reader(self._headers), site.clock, time.time
        family, plan, problems = self._family, self._plan, self._problems
        is_left_out, constant, overflow = self._excludes, plan.constant, plan.overflow

        def record(scope: Scope) -> None:
            text = header(scope.request)
            if not text or not scope.tracked:
                return
            if is_left_out is not None and is_left_out(scope.request):
                return
            stamp = read_stamp(text)
            if stamp is None:
                problems.queue_time_ignored("unreadable")
                return
            waited = wall() - (clock() - scope.start) - stamp
            if waited < -SKEW:
                problems.queue_time_ignored("future")
            elif waited > OLDEST:
                problems.queue_time_ignored("old")
            else:
                values = overflow if constant else plan.resolve(None)
                family.child(values, overflow).record(waited if waited > 0.0 else 0.0)

        return record


def read_stamp(text: str) -> float | None:
    """Return the Unix time in seconds that a header says; None if it says none.

    The number is in seconds, milliseconds, microseconds or nanoseconds, which its size tells, with
    or without `t=` before it. Of several times, separated by commas, the first one counts.
    """
    try:
        number = float(text.removeprefix("t="))
    except ValueError:  # several times, spaces, or nonsense
        try:
            number = float(text.partition(",")[0].strip().removeprefix("t="))
        except ValueError:
            return None
    if 0.0 <= number < _SECONDS:
        return number
    for limit, unit in _UNITS:
        if 0.0 <= number < limit:
            return number / unit
    return None  # NaN comes here, too
