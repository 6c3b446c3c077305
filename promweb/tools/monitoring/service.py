"""The monitored service: the names and labels of its metrics, and its objectives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from ...core.defaults.vocabulary import Vocabulary
from ...core.families.numbers import text_of

__all__ = ["OPTIONAL", "Latency", "Objective", "Service", "duration_text", "read_duration"]

OPTIONAL = {
    "in_progress": True,
    "request_size": True,
    "response_size": True,
    "response_start": True,
    "event_loop": False,
    "queue_time": True,
    "threads": False,
    "background_tasks": False,
}
"""The arguments that turn on families of panels or alerts, and whether Flask has them, too."""


@dataclass(frozen=True)
class Objective:
    """The share of requests that must be good, in percent: above 0, below 100."""

    percent: Decimal

    @property
    def budget(self) -> Decimal:
        """The share of requests that may be bad, between 0 and 1."""
        return (100 - self.percent) / 100


@dataclass(frozen=True)
class Latency(Objective):
    """A request is good if it takes at most `seconds`, which must be the bound of a bucket."""

    seconds: float

    @property
    def le(self) -> str:
        """The bound as a value of the label `le`."""
        return text_of(self.seconds)


@dataclass(frozen=True)
class Service:
    """The arguments of the metrics object that names and labels depend on.

    `words` has the names that follow `prefix`, which ends with its underscore or is empty.
    `matchers` are PromQL label matchers (without braces) that select the targets, or empty.
    `latency` is None if durations are a summary.
    """

    words: Vocabulary
    prefix: str
    group: str
    matchers: str
    errors: Objective
    latency: Latency | None
    websockets: bool
    native: bool = False
    """Whether durations and sizes have native buckets, at least in some instances."""
    measured: frozenset[str] = frozenset(OPTIONAL)
    """The arguments among `OPTIONAL` that are on, as far as is known."""
    workers: bool = False
    """Whether `process_metrics` is known to be on."""
    in_progress_by_group: bool = False
    """Whether requests in progress have the group in place of the method."""

    @property
    def start(self) -> str:
        """The beginning of the names of all request families."""
        return f"{self.prefix}{self.words.start}"

    @property
    def name(self) -> str:
        """The same as one word, for titles and names of groups."""
        return self.start.rstrip("_") or "http"

    @property
    def presence(self) -> str:
        """A family that every instance has, from its start or from its first request on."""
        return f"{self.prefix}{self.words.info or f'{self.words.duration}_count'}"


_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def read_duration(text: str) -> int:
    """Return the seconds of a duration in Prometheus' notation: `30d`, `1h30m`, `15s`.

    Raises `ValueError` for any other text, an empty one included.
    """
    found = _DURATION.fullmatch(text)
    counts = [int(count or 0) for count in found.groups()] if found else []
    seconds = sum(
        count * unit for count, unit in zip(counts, (7 * 86400, *_UNITS.values()), strict=False)
    )
    if not seconds:
        raise ValueError(f"{text!r} is not a duration; write for example 30d, 12h or 1h30m")
    return seconds


def duration_text(seconds: int) -> str:
    """Return a duration in Prometheus' notation, in units up to days."""
    text = ""
    for name, unit in _UNITS.items():
        count, seconds = divmod(seconds, unit)
        text += f"{count}{name}" if count else ""
    return text
