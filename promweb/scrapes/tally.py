"""The numbers of some requests: sums, differences, quantiles from buckets; plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["QUANTILES", "Tally", "increase"]

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
"""The quantiles that are shown, by name."""


@dataclass(frozen=True)
class Tally:
    """Requests as a histogram or a summary counts them: since a start, or within a while."""

    count: float = 0.0
    errors: float = 0.0
    """Requests among them with a 5xx status; NaN if unknown."""
    seconds: float = 0.0
    """The sum of their durations; NaN if unknown."""
    buckets: Mapping[float, float] = field(default_factory=dict)
    """How many took at most this many seconds; the last bound is infinity. Empty for a summary."""

    @classmethod
    def total(cls, tallies: Iterable[Tally]) -> Tally:
        """Add up tallies.

        If bounds differ, only the common ones are kept: a cumulative count at a common bound adds
        up exactly, and one at any other does not.
        """
        parts = [tally for tally in tallies if tally.count]
        bounds = set.intersection(*(set(part.buckets) for part in parts)) if parts else set()
        return cls(
            sum(part.count for part in parts),
            sum(part.errors for part in parts),
            sum(part.seconds for part in parts),
            {bound: sum(part.buckets[bound] for part in parts) for bound in sorted(bounds)},
        )

    def since(self, before: Tally) -> Tally:
        """Return how much was counted since an earlier tally of the same series.

        A number that went down, or other bounds, mean that the process restarted: then the whole
        tally is new.
        """
        if self.count < before.count or self.buckets.keys() != before.buckets.keys():
            return self
        buckets = {bound: count - before.buckets[bound] for bound, count in self.buckets.items()}
        if any(count < 0 for count in buckets.values()):
            return self
        return Tally(
            self.count - before.count,
            increase(self.errors, before.errors),
            increase(self.seconds, before.seconds),
            buckets,
        )

    @property
    def error_share(self) -> float | None:
        """The share of errors, 0 to 1; `None` without requests, or if unknown."""
        return self.errors / self.count if self.count and self.errors >= 0 else None

    @property
    def highest_bound(self) -> float | None:
        """The highest finite bound of the buckets: quantiles above it are unknown."""
        return max((bound for bound in self.buckets if bound < math.inf), default=None)

    def quantile(self, q: float) -> float | None:
        """Estimate how many seconds a share `q` of the requests took at most.

        By the rule of PromQL's `histogram_quantile`: linear within a bucket, the highest finite
        bound if the quantile is above it. `None` without requests or without buckets.
        """
        highest = self.highest_bound
        observed = self.buckets.get(math.inf, 0.0)
        if highest is None or not observed:
            return None
        rank = q * observed
        lower = below = 0.0
        for bound, count in sorted(self.buckets.items()):
            if count >= rank and count > below:
                if bound == math.inf:
                    return highest
                if lower == 0.0 and bound <= 0.0:
                    return bound
                return lower + (bound - lower) * (rank - below) / (count - below)
            lower, below = bound, count
        return highest


def increase(now: float, before: float) -> float:
    """Return by how much a counter went up; one that went down restarted from zero."""
    return now - before if now >= before else now
