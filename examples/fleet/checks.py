"""Compares Prometheus' numbers of a fleet with the requests that were sent to it."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import Histogram

from .fleet import INSTANCES, Answer, Fleet

__all__ = ["Check", "checks", "quantile"]

QUANTILES = (0.75, 0.95)


@dataclass(frozen=True)
class Check:
    """A query's answer, and between which values it should be."""

    what: str
    query: str
    low: float
    high: float
    found: float

    @property
    def holds(self) -> bool:
        slack = 1e-9 * self.high  # sums of floats
        return self.low - slack <= self.found <= self.high + slack


def checks(fleet: Fleet, answers: Sequence[Answer], before: float, after: float) -> Iterator[Check]:
    """Ask Prometheus about the time between two quiet moments.

    Differences between two times are exact. `rate` and `increase` are not: they see the samples
    inside of their window, and extrapolate by at most 1.1 scrape intervals on each side.
    """

    def check(what: str, query: str, low: float, high: float | None = None) -> Check:
        return Check(what, query, low, low if high is None else high, fleet.prometheus.value(query))

    def since(metric: str) -> str:
        return f"({metric} @ {after:.3f} - {metric} @ {before:.3f})"

    # An instance measures more time than the view takes, and less than the client waits.
    shortest = [answer.errand.takes for answer in answers]
    longest = [answer.seconds for answer in answers]
    total = len(answers)
    errors = sum(answer.status >= 500 for answer in answers)

    yield check("requests", f"sum{since('shop_http_request_total')}", total)
    for name in INSTANCES:
        own = sum(answer.instance == name for answer in answers)
        selector = f'shop_http_request_total{{instance="{name}"}}'
        yield check(f"requests to {name}", f"sum{since(selector)}", own)
    selector = 'shop_http_request_total{status=~"5.."}'
    yield check("errors", f"sum{since(selector)}", errors)
    buckets = f"sum by (le) {since('shop_http_request_duration_seconds_bucket')}"
    for q in QUANTILES:
        query = f"histogram_quantile({q}, {buckets})"
        yield check(f"p{q:.0%}"[:-1], query, quantile(q, shortest), quantile(q, longest))

    fewest = f"min(count_over_time(shop_http_request_total[1m] @ {after:.3f}))"
    most = 1 + 2.2 / (fleet.prometheus.value(fewest) - 1)
    increase = "sum(increase(shop_http_request_total[1m]))"
    yield check("increase, extrapolated", increase, total, total * most)
    rule = "service:shop_http_requests:rate1m"
    yield check("rule: requests a second", rule, total / 60, total * most / 60)
    share, rule = errors / total, "service:shop_http_errors:ratio_rate1m"
    yield check("rule: share of errors", rule, share / most, share * most)
    for q in QUANTILES:
        rule = f"service:shop_http_request_duration_seconds:p{q:.0%}"[:-1] + "_rate1m"
        low, high = quantile(q / most, shortest), quantile(min(1, q * most), longest)
        yield check(f"rule: p{q:.0%}"[:-1], rule, low, high)


def quantile(q: float, seconds: Sequence[float]) -> float:
    """Compute `histogram_quantile` of durations: a point on a line inside a bucket."""
    bounds = [0.0, *Histogram.DEFAULT_BUCKETS]
    ordered = sorted(seconds)
    below = [bisect.bisect_right(ordered, bound) if bound else 0 for bound in bounds]
    rank = q * len(ordered)
    upper = bisect.bisect_left(below, rank)
    lower = upper - 1
    share = (rank - below[lower]) / (below[upper] - below[lower])
    return bounds[lower] + (bounds[upper] - bounds[lower]) * share
