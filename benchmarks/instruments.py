"""Instruments beside prometheus_client's metrics, used alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from promweb import PrometheusMetrics

from .harness import BARE, NULL, Comparison, Samples, Table, Variant

__all__ = ["BATCH", "INSTRUMENTS"]

BATCH = 2000
"""Calls in a round: about a millisecond."""

OURS = "promweb"
CLIENT = "prometheus_client"


BOUNDS = {
    "inc()": 0.7,
    "inc() of a kept child": 0.7,
    "inc(kind=...)": 0.3,
    "time()": 0.5,
    "time(query=...)": 0.5,
}
"""The most that a call may cost, as a share of the peer's; the loop around it is left out."""


@contextmanager
def _variants() -> Iterator[list[Variant]]:
    variants = [Variant(BARE, _nothing), Variant(NULL, _nothing)]
    for what, (ours, theirs) in zip(BOUNDS, _pairs(), strict=True):
        variants += [Variant(_name(OURS, what), ours), Variant(_name(CLIENT, what), theirs)]
    yield variants


def _judge(table: Table, samples: Samples, name: str) -> None:
    for what, most in BOUNDS.items():
        if name == _name(OURS, what):
            ratio = samples.ratio(name, _name(CLIENT, what))
            table.goal(f"of {CLIENT}'s {what}", ratio, most)


INSTRUMENTS = Comparison("Instruments", _variants, _judge)


def _name(whose: str, what: str) -> str:
    return f"{whose}, {what}"


Run = Callable[[int], None]


def _pairs() -> list[tuple[Run, Run]]:
    """Return our call and the peer's, in the order of `BOUNDS`."""
    metrics = PrometheusMetrics(None, registry=CollectorRegistry())
    registry = CollectorRegistry()
    our_counter = metrics.counter("calls", "Calls")
    their_counter = Counter("calls", "Calls", registry=registry)
    our_orders = metrics.counter("orders", "Orders", labelnames=["kind"])
    their_orders = Counter("orders", "Orders", ["kind"], registry=registry)
    our_seconds = metrics.histogram("seconds", "Time")
    their_seconds = Histogram("seconds", "Time", registry=registry)
    our_queries = metrics.histogram("query_seconds", "Time", labelnames=["query"])
    their_queries = Histogram("query_seconds", "Time", ["query"], registry=registry)
    return [
        (_inc(our_counter.inc), _inc(their_counter.inc)),
        (_inc(our_orders.labels(kind="kept").inc), _inc(their_orders.labels(kind="kept").inc)),
        (_inc_kind(our_orders.inc), _labels_inc(their_orders)),
        (_time(our_seconds.time), _time(their_seconds.time)),
        (_time_query(our_queries.time), _labels_time(their_queries)),
    ]


def _nothing(number: int) -> None:
    for _ in range(number):
        pass


def _inc(inc: Callable[[], None]) -> Run:
    def run(number: int) -> None:
        for _ in range(number):
            inc()

    return run


def _inc_kind(inc: Callable[..., None]) -> Run:
    def run(number: int) -> None:
        for _ in range(number):
            inc(kind="gift")

    return run


def _labels_inc(counter: Counter) -> Run:
    def run(number: int) -> None:
        for _ in range(number):
            counter.labels(kind="gift").inc()

    return run


def _time(time: Callable[[], object]) -> Run:
    def run(number: int) -> None:
        for _ in range(number):
            with time():  # type: ignore[attr-defined]
                pass

    return run


def _time_query(time: Callable[..., object]) -> Run:
    def run(number: int) -> None:
        for _ in range(number):
            with time(query="orders"):  # type: ignore[attr-defined]
                pass

    return run


def _labels_time(histogram: Histogram) -> Run:
    def run(number: int) -> None:
        for _ in range(number):
            with histogram.labels(query="orders").time():
                pass

    return run
