"""Reads the routes, websockets and workers of a service from one exposition.

It finds the names by itself: the naming and its prefix from the family of durations, the group from
the label that the counter of requests does not have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from prometheus_client.samples import Sample

from ..core.defaults.vocabulary import OTEL, PROMWEB, Vocabulary
from .counts import Labels, bound_of, count_of, key_of, total_of
from .parsing import Exposition, ScrapeError
from .tally import Tally, increase
from .waiting import read_loops, read_waits

__all__ = ["Labels", "Series", "Snapshot", "Sockets", "Worker"]

_MEMORY = "resident_memory_bytes"
_USUAL_GROUPS = ("path", "endpoint", "url_rule")


@dataclass(frozen=True)
class Series:
    """The requests of one label set."""

    route: str
    tally: Tally


@dataclass(frozen=True)
class Sockets:
    """The websockets of one route."""

    open: float = 0.0
    closed: float = 0.0
    received: float = 0.0
    """Messages from clients."""
    sent: float = 0.0

    def __add__(self, other: Sockets) -> Sockets:
        return Sockets(
            self.open + other.open,
            self.closed + other.closed,
            self.received + other.received,
            self.sent + other.sent,
        )

    def since(self, before: Sockets) -> Sockets:
        """Return by how much the counters went up; `open` keeps its value."""
        return Sockets(
            self.open,
            increase(self.closed, before.closed),
            increase(self.received, before.received),
            increase(self.sent, before.sent),
        )


@dataclass(frozen=True)
class Worker:
    """A process; `None` stands for a number that it does not expose."""

    memory: float
    """Resident memory in bytes."""
    cpu: float | None = None
    """Processor time in seconds."""
    files: float | None = None
    """Open file descriptors."""


@dataclass(frozen=True)
class Snapshot:
    """The numbers of one service, at one moment or between two."""

    prefix: str
    """The beginning of the families' names."""
    group: str | None
    """The label with the route; `None` before the first request."""
    series: Mapping[Labels, Series]
    in_progress: float | None
    """Requests in progress; `None` if the service does not count them."""
    exceptions: float | None
    """Exceptions; `None` if the service does not count them."""
    sockets: Mapping[str, Sockets]
    workers: Mapping[Labels, Worker]
    loops: Mapping[str, Tally] = field(default_factory=dict)
    """How long the requests of each route held the event loop: longest steps; all in seconds."""
    waits: Mapping[str, Tally] = field(default_factory=dict)
    """How long was waited, by what for."""

    @classmethod
    def of(
        cls, exposition: Exposition, prefix: str | None = None, group: str | None = None
    ) -> Snapshot:
        """Read an exposition; find the prefix and the group unless they are given.

        Raises `ScrapeError` if the families of HTTP requests are missing or ambiguous, or if a
        count is not a number.
        """
        start, words = _naming(exposition, prefix)
        prefix = start.removesuffix(words.start)
        samples = exposition.samples
        group = _group(samples, prefix, words, group)
        in_progress = samples.get(f"{prefix}{words.in_progress}")
        return cls(
            start,
            group,
            {} if group is None else _series(samples, prefix, group, words),
            None if in_progress is None else total_of(in_progress),
            _exceptions(exposition, prefix, words),
            _sockets(samples, prefix, words),
            _workers(samples),
            {} if group is None else read_loops(samples, prefix, group, words.unmatched),
            read_waits(samples, prefix),
        )

    @property
    def total(self) -> Tally:
        return Tally.total(series.tally for series in self.series.values())

    def since(self, before: Snapshot) -> Snapshot:
        """Return how much was counted since an earlier snapshot; gauges keep their values."""
        series = {
            labels: replace(one, tally=one.tally.since(before.series[labels].tally))
            if labels in before.series
            else one
            for labels, one in self.series.items()
        }
        return replace(
            self,
            series={labels: one for labels, one in series.items() if one.tally.count},
            exceptions=None
            if self.exceptions is None
            else increase(self.exceptions, before.exceptions or 0.0),
            sockets={
                route: one.since(before.sockets.get(route, Sockets()))
                for route, one in self.sockets.items()
            },
            workers={
                labels: replace(one, cpu=_cpu_since(one, before.workers.get(labels)))
                for labels, one in self.workers.items()
            },
            loops=_since(self.loops, before.loops),
            waits=_since(self.waits, before.waits),
        )


def _since(now: Mapping[str, Tally], before: Mapping[str, Tally]) -> dict[str, Tally]:
    return {name: one.since(before.get(name, Tally())) for name, one in now.items()}


def _cpu_since(worker: Worker, before: Worker | None) -> float | None:
    if worker.cpu is None or before is None or before.cpu is None:
        return None
    return increase(worker.cpu, before.cpu)


def _naming(exposition: Exposition, wanted: str | None) -> tuple[str, Vocabulary]:
    """Return the beginning of the names, and the rest of their naming."""
    # Without TYPE lines each name is a family of its own.
    names = {*exposition.families, *(name.removesuffix("_count") for name in exposition.samples)}
    duration = PROMWEB.duration
    found = {n.removesuffix(duration): PROMWEB for n in sorted(names) if n.endswith(duration)}
    prefixes = list(found)
    if OTEL.duration in names:
        found[OTEL.start] = OTEL
    if wanted is not None:
        # The prefix may be given with or without its underscore.
        for start in (wanted, f"{wanted}_", wanted.removesuffix("_")):
            if start in found:
                return start, found[start]
        raise ScrapeError(f"it has no family {wanted}{duration}{_instead(list(found))}")
    if not found:
        raise ScrapeError(
            f"it has no family whose name ends in {duration}, and none named {OTEL.duration}"
        )
    if len(prefixes) > 1:
        raise ScrapeError(
            f"it has several prefixes; choose one with --prefix{_instead(list(found))}"
        )
    # If both namings are there, they count the same requests.
    return next(iter(found.items()))


def _instead(prefixes: list[str]) -> str:
    return ": " + ", ".join(repr(prefix) for prefix in prefixes) if prefixes else ""


def _group(
    samples: Mapping[str, list[Sample]], prefix: str, words: Vocabulary, wanted: str | None
) -> str | None:
    counts = samples.get(f"{prefix}{words.duration}_count")
    if not counts:
        return None
    names = set(counts[0].labels)
    if wanted is not None:
        if wanted not in names:
            raise ScrapeError(f"its {words.duration} has no label {wanted!r}: {_listed(names)}")
        return wanted
    if words.group is not None:
        return words.group
    names -= {words.method, words.status}
    # Default labels are on both families, the group on the first one only.
    totals = samples.get(f"{prefix}{words.requests}", [])
    for candidates in (
        names.difference(*(sample.labels for sample in totals[:1])),
        names,
        names.intersection(_USUAL_GROUPS),
    ):
        if len(candidates) == 1:
            return candidates.pop()
    raise ScrapeError(f"cannot tell which label has the route; use --group: {_listed(names)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "there is none"


def _series(
    samples: Mapping[str, list[Sample]], prefix: str, group: str, words: Vocabulary
) -> dict[Labels, Series]:
    name = f"{prefix}{words.duration}"
    seconds = {key_of(sample): sample.value for sample in samples.get(f"{name}_sum", [])}
    buckets: dict[Labels, dict[float, float]] = {}
    for sample in samples.get(f"{name}_bucket", []):
        bound = bound_of(sample)
        buckets.setdefault(key_of(sample), {})[bound] = count_of(sample)
    found = {}
    for sample in samples[f"{name}_count"]:
        key, count = key_of(sample), count_of(sample)
        status = sample.labels.get(words.status)
        # Without a status the number of failures is unknown, and so is any sum of it.
        failed = math.nan if status is None else status.startswith("5")
        found[key] = Series(
            sample.labels.get(group) or words.unmatched,
            Tally(count, count * failed, seconds.get(key, math.nan), buckets.get(key, {})),
        )
    return found


def _exceptions(exposition: Exposition, prefix: str, words: Vocabulary) -> float | None:
    samples = exposition.samples
    if words.error is None:
        found = samples.get(f"{prefix}{words.exceptions}", [])
        # A service with the one family has the other as well, once there is an exception.
        families = (f"{prefix}{words.exceptions}".removesuffix("_total"), f"{prefix}{words.info}")
        is_known = found or any(name in exposition.families for name in families)
        return total_of(found) if is_known else None
    counts = samples.get(f"{prefix}{words.duration}_count", [])
    kinds = ((sample, sample.labels.get(words.error, "")) for sample in counts)
    # A request that was answered with an error has the status as its error type.
    return total_of(sample for sample, kind in kinds if kind and not kind.isdecimal())


def _sockets(
    samples: Mapping[str, list[Sample]], prefix: str, words: Vocabulary
) -> dict[str, Sockets]:
    found: dict[str, Sockets] = {}
    for name, known in (
        ("connections_in_progress", "open"),
        ("connection_duration_seconds_count", "closed"),
        ("messages_total", None),
    ):
        for sample in samples.get(f"{prefix}websocket_{name}", []):
            direction = known or sample.labels.get("direction")
            if direction not in ("open", "closed", "received", "sent"):
                continue
            # The remaining label is the group, whatever its name.
            groups = sample.labels.keys() - {"direction", "close_code"}
            route = (sample.labels[min(groups)] if groups else "") or words.unmatched
            more = Sockets(**{direction: count_of(sample)})
            found[route] = found.get(route, Sockets()) + more
    return found


def _workers(samples: Mapping[str, list[Sample]]) -> dict[Labels, Worker]:
    found = {}
    for name in samples:
        if not name.endswith(_MEMORY):
            continue
        base = name.removesuffix(_MEMORY)
        cpu, files = (
            {key_of(sample): count_of(sample) for sample in samples.get(f"{base}{rest}", [])}
            for rest in ("cpu_seconds_total", "open_fds")
        )
        for sample in samples[name]:
            key = key_of(sample)
            found[key] = Worker(count_of(sample), cpu.get(key), files.get(key))
    return found
