"""The numbers of several services over time: rates within a window, sums, a history.

Nothing here reads a clock: the caller gives each snapshot its time, in seconds of a clock that does
not jump.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .snapshot import Labels, Snapshot, Sockets, Worker
from .tally import QUANTILES, Tally

__all__ = ["ORDERS", "Point", "Row", "Source", "Traffic", "by_route"]

_NONE = Tally()

HISTORY = 500
"""How many points the history keeps: more than a terminal has columns."""


@dataclass(frozen=True)
class Row:
    """Some requests: those of a route, of a URL, or all."""

    rate: float = 0.0
    """Requests per second, within the window."""
    recent: Tally = field(default_factory=Tally)
    """The requests within the window."""
    total: float = 0.0
    """Requests since the processes started."""


def _latency(row: Row) -> float:
    seconds = row.recent.quantile(QUANTILES["p95"])
    return -1.0 if seconds is None else seconds


# How to sort routes: the key of a route's name and row.
ORDERS: dict[str, Callable[[str, Row], Any]] = {
    "rate": lambda name, row: (-row.rate, -row.total, name),
    "errors": lambda name, row: (-(row.recent.error_share or 0.0), -row.rate, name),
    "latency": lambda name, row: (-_latency(row), -row.rate, name),
    "name": lambda name, row: name,
}


@dataclass(frozen=True)
class Point:
    """One moment of the history."""

    rate: float
    error_share: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    in_progress: float | None


@dataclass(frozen=True)
class _Step:
    """How much was counted between two scrapes of one URL."""

    at: float
    seconds: float
    counted: Snapshot


class Source:
    """One URL: its last scrape, and how much was counted lately."""

    def __init__(self, url: str, window: float) -> None:
        self.url = url
        self.error: str | None = None
        """The error of the last attempt; `None` if it succeeded, or there was none yet."""
        self.latest: Snapshot | None = None
        self._window = window
        self._at = 0.0
        self._steps: deque[_Step] = deque()
        self._news = 0
        """How many of these steps came after the last point of the history."""

    def add(self, at: float, outcome: Snapshot | str) -> None:
        """Add the result of a scrape: a snapshot or an error."""
        if isinstance(outcome, str):
            self.error = outcome
            return
        if self.latest is not None and at > self._at:
            self._steps.append(_Step(at, at - self._at, outcome.since(self.latest)))
            self._news += 1
        while self._steps and self._steps[0].at <= at - self._window:
            self._steps.popleft()
        self.error, self.latest, self._at = None, outcome, at

    @property
    def seconds(self) -> float:
        """The total length of the steps within the window."""
        return sum(step.seconds for step in self._steps)

    @property
    def counted(self) -> list[Snapshot]:
        """How much was counted in each of these steps."""
        return [step.counted for step in self._steps]

    @property
    def last_step(self) -> tuple[float, Snapshot] | None:
        """The length of the last step in seconds, and how much was counted in it."""
        if not self._steps:
            return None
        return self._steps[-1].seconds, self._steps[-1].counted

    def news(self) -> list[_Step]:
        """Return the steps since the last call, or the last step if there are none."""
        news = list(self._steps)[-max(self._news, 1) :]
        self._news = 0
        return news


class Traffic:
    """All URLs, summed. A URL whose last scrape failed does not count.

    `window` is in seconds, and includes at least the last two scrapes.
    """

    def __init__(self, urls: Iterable[str], window: float) -> None:
        self.sources = {url: Source(url, window) for url in urls}
        self.history: deque[Point] = deque(maxlen=HISTORY)

    @property
    def up(self) -> list[Source]:
        return [
            source
            for source in self.sources.values()
            if source.latest is not None and source.error is None
        ]

    def add(self, url: str, at: float, outcome: Snapshot | str) -> None:
        self.sources[url].add(at, outcome)

    def tick(self) -> None:
        """Add a point to the history, from the scrapes since the last one."""
        rate, tallies = 0.0, []
        for source in self.up:
            if news := source.news():
                tallies.append(Tally.total(step.counted.total for step in news))
                rate += tallies[-1].count / sum(step.seconds for step in news)
        if not tallies:
            return
        recent = Tally.total(tallies)
        p50, p95, p99 = map(recent.quantile, QUANTILES.values())
        self.history.append(Point(rate, recent.error_share, p50, p95, p99, self.in_progress))

    @property
    def in_progress(self) -> float | None:
        """Requests in progress; `None` if no service counts them."""
        found = [source.latest.in_progress for source in self.up if source.latest]
        known = [number for number in found if number is not None]
        return sum(known) if known else None

    def of(self, source: Source) -> Row:
        """The requests of one URL."""
        recent = Tally.total(counted.total for counted in source.counted)
        rate = recent.count / source.seconds if source.seconds else 0.0
        return Row(rate, recent, source.latest.total.count if source.latest else 0.0)

    @property
    def overall(self) -> Row:
        """All requests."""
        rows = [self.of(source) for source in self.up]
        return Row(
            sum(row.rate for row in rows),
            Tally.total(row.recent for row in rows),
            sum(row.total for row in rows),
        )

    @property
    def routes(self) -> dict[str, Row]:
        """The requests of each route."""
        since_start = by_route(source.latest for source in self.up if source.latest)
        lately = by_route(counted for source in self.up for counted in source.counted)
        rates = dict.fromkeys([*since_start, *lately], 0.0)
        for source in self.up:
            for route, tally in by_route(source.counted).items():
                rates[route] += tally.count / source.seconds
        return {
            route: Row(rate, lately.get(route, _NONE), since_start.get(route, _NONE).count)
            for route, rate in rates.items()
        }

    @property
    def sockets(self) -> dict[str, Sockets]:
        """The websockets of each route, with counters as rates per second."""
        found: dict[str, Sockets] = {}
        for source in self.up:
            latest = source.latest.sockets if source.latest else {}
            for route, now in latest.items():
                steps = [counted.sockets.get(route, Sockets()) for counted in source.counted]
                seconds = source.seconds or 1.0
                found[route] = found.get(route, Sockets()) + Sockets(
                    now.open,
                    sum(step.closed for step in steps) / seconds,
                    sum(step.received for step in steps) / seconds,
                    sum(step.sent for step in steps) / seconds,
                )
        return found

    @property
    def loops(self) -> dict[str, tuple[float, Tally]]:
        """The share of an event loop that each route had within the window, and its steps."""
        found: dict[str, tuple[float, Tally]] = {}
        for source in self.up:
            for route in source.latest.loops if source.latest else {}:
                steps = Tally.total(one.loops.get(route, _NONE) for one in source.counted)
                share, before = found.get(route, (0.0, _NONE))
                share += steps.seconds / source.seconds if source.seconds else 0.0
                found[route] = share, Tally.total((before, steps))
        return found

    @property
    def waits(self) -> dict[str, Tally]:
        """How long was waited within the window, by what for."""
        names = {name for source in self.up if source.latest for name in source.latest.waits}
        counted = [one for source in self.up for one in source.counted]
        return {name: Tally.total(one.waits.get(name, _NONE) for one in counted) for name in names}

    @property
    def workers(self) -> dict[tuple[str, Labels], Worker]:
        """The processes behind each URL, `cpu` as seconds per second."""
        found = {}
        for source in self.up:
            seconds, counted = source.last_step or (1.0, None)
            for labels, worker in (source.latest.workers if source.latest else {}).items():
                step = counted.workers.get(labels) if counted else None
                cpu = None if step is None or step.cpu is None else step.cpu / seconds
                found[source.url, labels] = Worker(worker.memory, cpu, worker.files)
        return found


def by_route(snapshots: Iterable[Snapshot]) -> dict[str, Tally]:
    """Sum the requests of each route."""
    found: dict[str, list[Tally]] = {}
    for snapshot in snapshots:
        for series in snapshot.series.values():
            found.setdefault(series.route, []).append(series.tally)
    return {route: Tally.total(tallies) for route, tallies in found.items()}
