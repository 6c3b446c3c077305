"""Instruments beside prometheus_client's metrics, used alike."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

from promweb import PrometheusMetrics

from .harness import BARE, NULL, Effort, Table, Variant, compare

__all__ = ["instruments"]

BATCH = 2000
"""Calls in a round: about a millisecond."""

OURS = "promweb"
CLIENT = "prometheus_client"


def instruments(effort: Effort) -> Table:
    """Return what a call costs, the loop around it left out, and its share of the peer's."""
    table = Table("Instruments")
    pairs = _pairs()
    variants = [Variant(BARE, _nothing), Variant(NULL, _nothing)]
    for what, ours, theirs, _ in pairs:
        variants += [Variant(_name(OURS, what), ours), Variant(_name(CLIENT, what), theirs)]
    samples = compare(variants, batch=BATCH, seconds=effort.seconds(15))
    goals = {_name(OURS, what): (what, most) for what, _, _, most in pairs}
    for name in table.compared(samples):
        if name in goals:
            what, most = goals[name]
            ratio = samples.ratio(name, _name(CLIENT, what))
            table.goal(f"of {CLIENT}'s {what}", ratio, most)
    return table


def _name(whose: str, what: str) -> str:
    return f"{whose}, {what}"


Run = Callable[[int], None]


def _pairs() -> list[tuple[str, Run, Run, float]]:
    """Return what is compared: its name, ours, theirs, and the most that ours may cost."""
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
        ("inc()", _inc(our_counter.inc), _inc(their_counter.inc), 0.7),
        (
            "inc() of a kept child",
            _inc(our_orders.labels(kind="kept").inc),
            _inc(their_orders.labels(kind="kept").inc),
            0.7,
        ),
        ("inc(kind=...)", _inc_kind(our_orders.inc), _labels_inc(their_orders), 0.3),
        ("time()", _time(our_seconds.time), _time(their_seconds.time), 0.5),
        ("time(query=...)", _time_query(our_queries.time), _labels_time(their_queries), 0.5),
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
