"""Instruments: what counters, gauges, histograms and summaries record without a decorator."""

from __future__ import annotations

import asyncio
import decimal
import inspect
import os
import re
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from fractions import Fraction
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from promweb.testing import isolated_registry
from tests.support import workers
from tests.support.legs import Leg
from tests.support.samples import samples

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
WRONG = "promweb_label_errors_total"


class Kind(Enum):
    GIFT = "gift"


@pytest.fixture
def metrics(leg: Leg) -> Any:
    return leg.make_metrics(None)


def errors(leg: Leg) -> dict[tuple[str, str], float]:
    return {(labels["metric"], labels["label"]): n for labels, n in samples(leg.registry, WRONG)}


def on(leg: Leg, app: Any, work: Callable[[], object]) -> None:
    """Do some work within a request."""
    app.add_url_rule("/work", "work", leg.view(lambda: [work(), "done"][1]))
    assert leg.get(app, "/work").text == "done"


# --- what they record ----------------------------------------------------------------------------


def test_a_counter(leg: Leg, metrics: Any) -> None:
    orders = metrics.counter("orders", "Orders", labels={"shop": "main"}, labelnames=["kind"])
    orders.labels(kind="gift").inc()
    orders.inc(3, kind="gift")
    orders.inc(kind=Kind.GIFT)
    orders.labels("gift").inc(0.5)
    orders.inc(amount=2, kind=3)
    orders.inc(kind=3.5)
    assert samples(leg.registry, "orders_total") == [
        ({"shop": "main", "kind": "gift"}, 5.5),
        ({"shop": "main", "kind": "3"}, 2.0),
        ({"shop": "main", "kind": "3.5"}, 1.0),
    ]


def test_values_that_are_equal_and_no_text_are_different_label_sets(leg: Leg, metrics: Any) -> None:
    calls = metrics.counter("calls", "Calls", labelnames=["of"])
    for value in (1, True, 1.0, "1", [1], None):
        for _ in range(2):
            calls.inc(of=value)
    assert [(labels["of"], n) for labels, n in samples(leg.registry, "calls_total")] == [
        ("1", 4.0),
        ("True", 2.0),
        ("1.0", 2.0),
        ("[1]", 2.0),
        ("None", 2.0),
    ]


def test_labels_may_come_in_any_order_and_have_names_of_arguments(leg: Leg, metrics: Any) -> None:
    calls = metrics.counter("calls", "Calls", labelnames=["self", "labels"])
    calls.inc(self="a", labels="b")
    calls.inc(labels="b", self="a")
    calls.labels("a", "b").inc()
    calls.labels(labels="b", self="a").inc()
    assert samples(leg.registry, "calls_total") == [({"self": "a", "labels": "b"}, 4.0)]
    by_amount = metrics.counter("by_amount", "Calls", labelnames=["amount"])
    by_amount.labels(amount="large").inc(2)
    assert leg.value("by_amount_total", amount="large") == 2


def test_a_gauge(leg: Leg, metrics: Any) -> None:
    queue = metrics.gauge("queue_length", "Jobs that wait")
    queue.set(4)
    queue.inc()
    queue.dec(2)
    queue.inc(-1)
    assert leg.value("queue_length") == 2
    with queue.track_inprogress():
        assert leg.value("queue_length") == 3
    assert leg.value("queue_length") == 2
    for _ in range(60):  # more than a batch
        queue.set(7)
        queue.inc(0.5)
    assert leg.value("queue_length") == 7.5
    queue.set(float("nan"))
    assert str(leg.value("queue_length")) == "nan"
    queue.set(decimal.Decimal("1.5"))
    assert leg.value("queue_length") == 1.5
    queue.set_to_current_time()
    assert (leg.value("queue_length") or 0) > 1e9
    with queue.time():
        leg.clock.advance(3)
    assert leg.value("queue_length") == 3


@pytest.mark.parametrize("kind", ["histogram", "summary"])
def test_observations(leg: Leg, metrics: Any, kind: str) -> None:
    rows = getattr(metrics, kind)("query_rows", "Rows of a query", unit="rows")
    for amount in (17, 0.25, Fraction(1, 2), -2, float("inf"), True):
        rows.observe(amount)
    assert leg.value("query_rows_count") == 6
    assert leg.value("query_rows_sum") == float("inf")


def test_observations_below_zero_are_summed_up_as_prometheus_client_does(
    leg: Leg, metrics: Any
) -> None:
    other = CollectorRegistry()
    for name, buckets in (("drift", (1, 2)), ("cold", (-10, 0, 10))):
        theirs = Histogram(name, "Degrees", buckets=buckets, registry=other)
        ours = metrics.histogram(name, "Degrees", buckets=buckets)
        for amount in (-20, -10, -3.5, 0, 1, 2, 30):
            theirs.observe(amount)
            ours.observe(amount)
    for metric in other.collect():
        for sample in metric.samples:
            if not sample.name.endswith("_created"):
                assert leg.registry.get_sample_value(sample.name, sample.labels) == sample.value


def test_blocks(leg: Leg, metrics: Any) -> None:
    seconds = metrics.histogram("query_seconds", "Time of a query", labelnames=["query"])
    orders = metrics.counter("orders", "Orders", labelnames=["kind"])
    busy = metrics.gauge("busy", "Busy", labelnames=["room"])
    with seconds.time(query="orders"), busy.track_inprogress(room="a"):
        leg.clock.advance(0.5)
        assert leg.value("busy", room="a") == 1
    with pytest.raises(ValueError, match="no"), orders.count_exceptions(kind="gift"):
        raise ValueError("no")
    with pytest.raises(KeyError), orders.count_exceptions(ValueError, kind="gift"):
        raise KeyError
    with pytest.raises(KeyError), orders.count_exceptions((ValueError, KeyError), kind="gift"):
        raise KeyError
    with seconds.time(query="orders"):
        leg.clock.advance(-5)  # a clock may go backwards
    assert leg.value("query_seconds_count", query="orders") == 2
    assert leg.value("query_seconds_sum", query="orders") == 0.5
    assert leg.value("orders_total", kind="gift") == 2
    assert leg.value("busy", room="a") == 0


def test_asynchronous_blocks(leg: Leg, metrics: Any) -> None:
    seconds = metrics.summary("seconds", "Time", labelnames=["of"])
    busy, failed = metrics.gauge("busy", "Busy"), metrics.counter("failed", "Failed")

    async def work() -> None:
        async with seconds.time(of="a"), busy.track_inprogress():
            leg.clock.advance(2)
            assert leg.value("busy") == 1
        with pytest.raises(asyncio.CancelledError):
            async with failed.count_exceptions(asyncio.CancelledError):
                raise asyncio.CancelledError

    asyncio.run(work())
    assert leg.value("seconds_sum", of="a") == 2
    assert leg.value("busy") == 0
    assert leg.value("failed_total") == 1


def test_a_block_may_be_used_again(leg: Leg, metrics: Any) -> None:
    tenants = iter("ab")
    seconds = metrics.summary("seconds", "Time", labels={"tenant": lambda: next(tenants)})
    block = seconds.time()
    for _ in range(2):
        with block:
            leg.clock.advance(1)
    assert [labels["tenant"] for labels, _ in samples(leg.registry, "seconds_count")] == ["a", "b"]


def test_blocks_decorate_functions_of_every_kind(leg: Leg, metrics: Any) -> None:
    seconds = metrics.summary("seconds", "Time", labelnames=["of"])
    failed, busy = metrics.counter("failed", "Failed"), metrics.gauge("busy", "Busy")
    last = metrics.gauge("last", "Last")

    @last.time()
    @seconds.time(of="plain")
    @failed.count_exceptions(ZeroDivisionError)
    @busy.track_inprogress()
    def plain(divisor: int) -> float:
        assert leg.value("busy") == 1
        leg.clock.advance(1)
        return 1 / divisor

    @seconds.time(of="coroutine")
    @failed.count_exceptions()
    async def coroutine() -> int:
        leg.clock.advance(1)
        return 1

    @seconds.time(of="generator")
    @failed.count_exceptions()
    def generator() -> Any:
        leg.clock.advance(1)
        yield 1
        leg.clock.advance(1)

    assert plain(2) == 0.5
    with pytest.raises(ZeroDivisionError):
        plain(0)
    assert inspect.iscoroutinefunction(coroutine)
    assert asyncio.run(coroutine()) == 1
    assert list(generator()) == [1]
    found = {labels["of"]: n for labels, n in samples(leg.registry, "seconds_sum")}
    assert found == {"plain": 2, "coroutine": 1, "generator": 2}
    assert leg.value("failed_total") == 1
    assert leg.value("busy") == 0
    assert leg.value("last") == 1


# --- labels --------------------------------------------------------------------------------------


def test_constants_and_callables_are_resolved_as_in_decorators(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(
        app, default_labels={"service": "shop", "client": lambda: leg.web.request.headers["X-C"]}
    )
    orders = metrics.counter("orders", "Orders", labels={"shop": "main"}, labelnames=["kind"])
    kept = orders.labels(kind="kept")
    seconds = metrics.histogram("seconds", "Time")

    def view() -> str:
        orders.inc(kind="gift")
        kept.inc()
        with seconds.time():
            leg.clock.advance(1)
        return "done"

    app.add_url_rule("/", "view", leg.view(view))
    for client in "ab":
        assert leg.get(app, "/", headers={"X-C": client}).text == "done"
    for client in "ab":
        labels = {"shop": "main", "service": "shop", "client": client}
        assert leg.value("orders_total", kind="gift", **labels) == 1
        assert leg.value("orders_total", kind="kept", **labels) == 1
        assert leg.value("seconds_sum", service="shop", client=client) == 1
    kept.inc()  # outside of a request
    assert leg.value("orders_total", kind="kept", shop="main", service="shop", client="<error>")
    assert errors(leg) == {("orders", "client"): 1}


def test_a_label_of_the_instrument_wins_over_a_default_label(leg: Leg) -> None:
    metrics = leg.make_metrics(None, default_labels={"kind": "x", "shop": "y"})
    metrics.counter("orders", "Orders", {"shop": "main"}, labelnames=["kind"]).inc(kind="gift")
    assert samples(leg.registry, "orders_total") == [({"shop": "main", "kind": "gift"}, 1.0)]


def test_awaited_labels(leg: Leg) -> None:
    if not leg.name.startswith("quart"):
        pytest.skip("awaits no labels")

    async def tenant() -> str:
        return "north"

    metrics = leg.make_metrics(None, default_labels={"tenant": tenant})
    seconds = metrics.summary("seconds", "Time")

    async def work() -> None:
        async with seconds.time():
            leg.clock.advance(1)
        await decorated()
        with seconds.time():  # where nothing is awaited
            leg.clock.advance(1)

    @seconds.time()
    async def decorated() -> None:
        leg.clock.advance(1)

    asyncio.run(work())
    assert leg.value("seconds_count", tenant="north") == 2
    assert leg.value("seconds_count", tenant="<error>") == 1


def test_what_only_decorators_know_raises_at_the_first_direct_call(leg: Leg) -> None:
    metrics = leg.make_metrics(None)
    orders = metrics.counter("orders", "Orders", {"status": lambda response: "x"})
    seconds = metrics.histogram("seconds", "Time", {"status": lambda response: "x"})
    text = "'status' a value, because it comes from a function's return value"
    for call in (orders.inc, lambda: seconds.observe(1), seconds.time().__enter__):
        for _ in range(2):
            with pytest.raises(ValueError, match=text):
                call()
    assert orders(lambda: 1)() == 1
    assert leg.value("orders_total", status="x") == 1
    assert errors(leg) == {}


def test_default_labels_of_the_response_are_not_those_of_direct_calls(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = leg.make_metrics(None, default_labels={"late": lambda response: "x", "a": "b"})
    metrics.counter("orders", "Orders", labelnames=["kind"]).inc(kind="gift")
    assert samples(leg.registry, "orders_total") == [({"a": "b", "kind": "gift"}, 1.0)]
    assert "counter 'orders' is recorded before there is a response and omits" in caplog.text


def test_a_decorator_with_open_labels_is_refused(leg: Leg, metrics: Any) -> None:
    orders = metrics.counter("orders", "Orders", labelnames=["kind", "shop"])
    with pytest.raises(ValueError, match=r"counter 'orders': nothing gives the label 'kind'"):
        orders(lambda: None)
    with pytest.raises(ValueError, match=r"counter 'orders': nothing gives the label 'kind'"):
        leg.make_metrics(leg.make_app(), export_defaults=False).register_default(orders)
    assert orders.labels(kind="gift", shop="main")(lambda: 3)() == 3
    assert leg.value("orders_total", kind="gift", shop="main") == 1


@pytest.mark.parametrize(
    ("labelnames", "error", "text"),
    [
        ("kind", TypeError, "must be a list of names"),
        (3, TypeError, "must be a list of names"),
        (["kind", "kind"], ValueError, "'kind' is there twice"),
        (["shop"], ValueError, "'shop' is in labels and in labelnames"),
        ([""], ValueError, "must be text"),
        ([3], ValueError, "must be text"),
        (["le"], ValueError, "upper bound of a histogram's bucket"),
    ],
)
def test_labelnames_that_cannot_work(
    metrics: Any, labelnames: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        metrics.histogram("sizes", "Sizes", labels={"shop": "main"}, labelnames=labelnames)


# --- wrong calls ---------------------------------------------------------------------------------

WRONG_CALLS: dict[str, tuple[Callable[[Any], object], str, type[Exception]]] = {
    "no label": (lambda m: m.orders.inc(), "kind", ValueError),
    "other label": (lambda m: m.orders.inc(kid="a"), "kind", ValueError),
    "one more": (lambda m: m.orders.inc(kind="a", shop="b"), "shop", ValueError),
    "bound": (lambda m: m.orders.labels(kid="a").inc(), "kind", ValueError),
    "bound again": (lambda m: m.orders.labels("a").labels("b").inc(), "", ValueError),
    "by position": (lambda m: m.orders.labels("a", "b").inc(), "kind", ValueError),
    "by position and by name": (lambda m: m.orders.labels("a", kind="b"), "kind", ValueError),
    "label as the amount": (lambda m: m.orders.inc("a"), "kind", ValueError),
    "label by position": (lambda m: m.orders.inc(1, "a"), "kind", TypeError),
    "function by position": (lambda m: m.orders.inc(1, len), "kind", TypeError),
    "own function by position": (lambda m: m.busy.set(1, Shop.use), "", TypeError),
    "observed by position": (lambda m: m.seconds.observe(1, "a"), "query", TypeError),
    "timed by position": (lambda m: m.use(m.seconds.time("a")), "query", TypeError),
    "gauge by position": (lambda m: m.busy.inc(1, "a"), "", TypeError),
    "gauge down by position": (lambda m: m.busy.dec(1, "a"), "", TypeError),
    "gauge set by position": (lambda m: m.busy.set(1, "a"), "", TypeError),
    "gauge timed by position": (lambda m: m.use(m.busy.time("a")), "", TypeError),
    "time by position": (lambda m: m.busy.set_to_current_time("a"), "", TypeError),
    "tracked by position": (lambda m: m.use(m.busy.track_inprogress("a")), "", TypeError),
    "exceptions by position": (
        lambda m: m.fail(m.orders.count_exceptions(ValueError, "a")),
        "kind",
        TypeError,
    ),
    "no exception": (lambda m: m.fail(m.orders.count_exceptions("a", kind="b")), "kind", TypeError),
    "no exceptions": (
        lambda m: m.fail(m.orders.count_exceptions((KeyError, 1), kind="b")),
        "kind",
        TypeError,
    ),
    "block": (lambda m: m.use(m.seconds.time(kid="a")), "query", ValueError),
    "down": (lambda m: m.orders.inc(-1, kind="a"), "", ValueError),
    "other label and down": (lambda m: m.orders.inc(-1, kid="a"), "kind", ValueError),
    "other label and text": (lambda m: m.seconds.observe("3", kid="a"), "query", ValueError),
    "bound and down": (lambda m: m.orders.labels(kid="a").inc(-1), "kind", ValueError),
    "NaN": (lambda m: m.orders.inc(float("nan"), kind="a"), "", TypeError),
    "text": (lambda m: m.orders.inc("3", kind="a"), "", TypeError),
    "none": (lambda m: m.orders.inc(None, kind="a"), "", TypeError),
    "huge": (lambda m: m.orders.inc(10**400, kind="a"), "", TypeError),
    "observed text": (lambda m: m.seconds.observe("3", query="a"), "", TypeError),
    "observed NaN": (lambda m: m.seconds.observe(float("nan"), query="a"), "", TypeError),
    "observed huge": (lambda m: m.seconds.observe(10**400, query="a"), "", TypeError),
    "gauge": (lambda m: m.busy.inc("3"), "", TypeError),
    "gauge huge": (lambda m: m.busy.inc(10**400), "", TypeError),
    "gauge down, huge": (lambda m: m.busy.dec(10**400), "", TypeError),
    "gauge down": (lambda m: m.busy.dec([]), "", TypeError),
    "gauge set": (lambda m: m.busy.set("3"), "", TypeError),
}
HAS_MOSTRECENT = "mostrecent" in Gauge._MULTIPROC_MODES
if HAS_MOSTRECENT:
    WRONG_CALLS |= {
        "only set": (lambda m: m.newest.inc(), "", ValueError),
        "only set, down": (lambda m: m.newest.dec(), "", ValueError),
        "only set, block": (lambda m: m.use(m.newest.track_inprogress()), "", ValueError),
    }


class Shop:
    """Instruments to be used wrongly."""

    def __init__(self, metrics: Any) -> None:
        self.orders = metrics.counter("orders", "Orders", labelnames=["kind"])
        self.seconds = metrics.histogram("seconds", "Time", labelnames=["query"])
        self.busy = metrics.gauge("busy", "Busy")
        if HAS_MOSTRECENT:
            self.newest = metrics.gauge("newest", "Newest", multiprocess_mode="mostrecent")

    def use(self, block: Any) -> None:
        with block:
            pass

    def fail(self, block: Any) -> None:
        with suppress(ValueError), block:
            raise ValueError


needs_mostrecent = pytest.mark.skipif(
    not HAS_MOSTRECENT, reason="prometheus_client 0.16 has no such mode"
)


@pytest.mark.parametrize("wrong", WRONG_CALLS)
def test_wrong_calls_record_nothing_and_are_logged_once(
    leg: Leg, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = leg.make_app()
    shop = Shop(leg.make_metrics(app))
    call, label, _ = WRONG_CALLS[wrong]
    for _ in range(2):
        call(shop)
    on(leg, app, lambda: call(shop))
    ((metric, found), count) = next(iter(errors(leg).items()))
    assert found.startswith(label)
    assert count == 3
    assert [record.getMessage() for record in caplog.records if metric in record.getMessage()] == [
        record.getMessage() for record in caplog.records
    ]
    assert len(caplog.records) == 1
    (place,) = re.findall(r" The call at (.*):\d+ recorded nothing\.", caplog.text)
    assert place == __file__
    assert caplog.text.count("\n") == 1  # without a stack
    for name in ("orders_total", "seconds_count", "busy", "newest"):
        assert sum(n for _, n in samples(leg.registry, name)) == 0


@pytest.mark.parametrize("wrong", WRONG_CALLS)
def test_wrong_calls_raise_in_tests(
    leg: Leg, wrong: str, metrics_registry: CollectorRegistry
) -> None:
    leg.registry = metrics_registry
    shop = Shop(leg.make_metrics(None))
    call, _, error = WRONG_CALLS[wrong]
    with pytest.raises(error, match=r"^(counter|gauge|histogram) '"):
        call(shop)
    assert errors(leg) == {}


def test_methods_that_return_decorators_are_called_first(leg: Leg) -> None:
    def plain() -> None: ...

    shop = Shop(leg.make_metrics(None))
    for name, method in (
        ("time", shop.seconds.time),
        ("time", shop.busy.time),
        ("track_inprogress", shop.busy.track_inprogress),
        ("count_exceptions", shop.orders.count_exceptions),
    ):
        match = rf"{name} got the function 'plain', .* as in {name}\(\)"
        with pytest.raises(TypeError, match=match):
            method(plain)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({}, "the label 'kind' is missing"),
        ({"kind": "a", "shop": "b"}, "calls cannot give the label 'shop'"),
        (
            {"kid": "a", "shop": "b"},
            "calls cannot give the labels 'kid', 'shop', and the label 'kind' is missing",
        ),
        ({"kid": "a"}, "calls cannot give the label 'kid', and the label 'kind' is missing"),
    ],
)
def test_a_wrong_label_is_named_beside_the_right_ones(
    leg: Leg, labels: dict[str, str], problem: str
) -> None:
    orders = leg.make_metrics(None).counter("orders", "Orders", labelnames=["kind"])
    with isolated_registry(), pytest.raises(ValueError, match="the label") as raised:
        orders.inc(**labels)
    assert str(raised.value) == f"counter 'orders': {problem}; its labelnames are: kind"


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (
            lambda sold, pens: sold.labels("novel"),
            "labels() was given 1 value by position and needs 2: genre, result",
        ),
        (
            lambda sold, pens: sold.labels("novel", "kept", "late"),
            "labels() was given 3 values by position and needs 2: genre, result",
        ),
        (
            lambda sold, pens: sold.labels("novel", result="kept"),
            "labels() takes values by position or by name, and not both: genre, result",
        ),
        (
            lambda sold, pens: pens.labels("red"),
            "labels() was given 1 value by position, and the metric has no labelnames",
        ),
        (
            lambda sold, pens: pens.labels("red", ink="red"),
            "labels() was given 1 value by position, and the metric has no labelnames",
        ),
        (
            lambda sold, pens: sold.inc("novel", result="kept"),
            "the label 'genre' is missing; its labelnames are: genre, result. The first argument "
            "'novel' is the amount: give labels by name",
        ),
        (
            lambda sold, pens: sold.inc("novel"),
            "the labels 'genre', 'result' are missing; its labelnames are: genre, result. The "
            "first argument 'novel' is the amount: give labels by name",
        ),
        (
            lambda sold, pens: sold.inc(-2),
            "the labels 'genre', 'result' are missing; its labelnames are: genre, result",
        ),
    ],
)
def test_a_wrong_call_says_how_to_give_the_labels(
    metrics: Any, call: Callable[[Any, Any], object], problem: str
) -> None:
    sold = metrics.counter("sold", "Books", labelnames=["genre", "result"])
    pens = metrics.counter("pens", "Pens")
    with isolated_registry(), pytest.raises(ValueError, match=r"^counter '") as raised:
        call(sold, pens)
    assert str(raised.value).partition(": ")[2] == problem


def test_a_label_in_place_of_the_value_of_a_gauge(metrics: Any) -> None:
    queue = metrics.gauge("queue", "Jobs", labelnames=["kind"])
    for call in (queue.set, queue.inc, queue.dec):
        with isolated_registry(), pytest.raises(ValueError, match="argument 'gift' is the amount"):
            call("gift")


def test_wrong_calls_are_logged_once_for_each_line(
    leg: Leg, metrics: Any, caplog: pytest.LogCaptureFixture
) -> None:
    orders = metrics.counter("orders", "Orders", labelnames=["kind"])
    line = inspect.currentframe().f_lineno  # type: ignore[union-attr]
    for _ in range(2):
        orders.inc()
        orders.inc()
    places = re.findall(rf"{__file__}:(\d+) recorded nothing", caplog.text)
    assert places == [str(line + 2), str(line + 3)]
    assert errors(leg) == {("orders", "kind"): 4}


def test_wrong_calls_of_endless_code_are_logged_a_hundred_times(
    leg: Leg, metrics: Any, caplog: pytest.LogCaptureFixture
) -> None:
    orders = metrics.counter("orders", "Orders", labelnames=["kind"])
    for number in range(150):
        exec(compile("orders.inc()", f"template-{number}", "exec"), {"orders": orders})
    assert len(caplog.records) == 100
    assert errors(leg) == {("orders", "kind"): 150}


def test_wrong_calls_raise_for_objects_of_modules_too(leg: Leg) -> None:
    orders = leg.make_metrics(None).counter("orders", "Orders")
    with isolated_registry(), pytest.raises(ValueError, match="a counter only goes up"):
        orders.inc(-1)
    orders.inc(-1)
    assert errors(leg) == {("orders", ""): 1}


def test_a_label_value_that_has_no_text(leg: Leg, metrics: Any) -> None:
    class Odd:
        def __str__(self) -> str:
            raise ValueError

    metrics.counter("orders", "Orders", labelnames=["kind"]).inc(kind=Odd())
    assert leg.value("orders_total", kind="<error>") == 1
    assert errors(leg) == {("orders", "kind"): 1}


def test_what_breaks_inside_breaks_no_call(
    leg: Leg, metrics: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    orders = metrics.counter("orders", "Orders", labelnames=["kind"])
    seconds, last = metrics.summary("seconds", "Time"), metrics.gauge("last", "Last")
    seconds.observe(1)
    last.set(1)

    def fail(*args: Any) -> Any:
        raise OSError

    with monkeypatch.context() as broken:
        for name in ("NumberChild.clear", "Child.record", "GaugeChild.set"):
            broken.setattr(f"promweb.core.families.children.{name}", fail)
        for _ in range(2):
            orders.inc(kind="a")
            seconds.observe(2)
            last.set(2)
            last.inc()
            last.dec()
            for block in (seconds.time(), last.time(), orders.count_exceptions(kind="a")):
                with block:
                    pass
    assert "OSError" in caplog.text
    assert len(caplog.records) == 3
    assert errors(leg) == {}
    orders.inc(kind="a")
    assert leg.value("orders_total", kind="a") == 1


# --- bounds, exemplars, names --------------------------------------------------------------------


def test_label_sets_are_bounded(leg: Leg) -> None:
    metrics = leg.make_metrics(None, max_series=5)
    orders = metrics.counter("orders", "Orders", labels={"shop": "main"}, labelnames=["kind"])
    kept = [orders.labels(kind=str(number)) for number in range(20)]
    for number in range(20):
        orders.inc(kind=str(number))
        kept[number].inc()
    found = samples(leg.registry, "orders_total")
    assert len(found) <= 5
    assert sum(n for _, n in found) == 40
    assert found[-1][0] == {"shop": "main", "kind": "<overflow>"}
    metrics.counter("notes", "Notes", labelnames=["text"]).inc(text="x" * 300)
    assert leg.value("notes_total", text="<overflow>") == 1


def test_exemplars(leg: Leg) -> None:
    orders = iter(range(100))
    metrics = leg.make_metrics(None, exemplar=lambda: {"order": str(next(orders))})
    metrics.counter("orders", "Orders", labelnames=["kind"]).inc(3, kind="gift")
    metrics.histogram("sizes", "Sizes", buckets=(1, 10)).observe(7)
    metrics.gauge("busy", "Busy").inc()
    text, _ = metrics.generate_metrics(OPENMETRICS)
    found = {
        sample.name: (sample.exemplar.labels, sample.exemplar.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert found == {"orders_total": ({"order": "0"}, 3), "sizes_bucket": ({"order": "1"}, 7)}


def test_a_recording_without_an_exemplar(leg: Leg) -> None:
    metrics = leg.make_metrics(None, exemplar=lambda: None)
    metrics.counter("orders", "Orders").inc()
    assert leg.value("orders_total") == 1
    assert "# {" not in metrics.generate_metrics(OPENMETRICS)[0]


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_a_scrape_is_that_of_prometheus_client(
    leg: Leg, accept: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made and used alike; `_created` has the same clock."""
    monkeypatch.setattr("time.time", lambda: 1.7e9)
    other = leg.make_metrics(None, registry=CollectorRegistry())

    def theirs(cls: Any, name: str, text: str, **kwargs: Any) -> Any:
        return cls(name, text, registry=other.registry, **kwargs)

    ours = leg.make_metrics(None)

    def use(counter: Any, gauge: Any, histogram: Any, summary: Any) -> None:
        gifts = counter("orders", "Orders", namespace="shop", labelnames=["kind", "area"])
        gifts.labels(kind="gift", area="north").inc()
        gifts.labels("gift", "south").inc(3)
        gifts.labels("book", "north")
        gauge("queue", "Jobs", unit="jobs", subsystem="work").set(4)
        rows = histogram("rows", "Rows", labelnames=["q"], buckets=(1, 10))
        for amount in (0.5, 7, 70):
            rows.labels("all").observe(amount)
        summary("size_bytes", "Sizes", unit="bytes").observe(17)
        with pytest.raises(KeyError), gifts.labels("book", "south").count_exceptions():
            raise KeyError

    use(ours.counter, ours.gauge, ours.histogram, ours.summary)
    use(
        lambda *args, **kwargs: theirs(Counter, *args, **kwargs),
        lambda *args, **kwargs: theirs(Gauge, *args, **kwargs),
        lambda *args, **kwargs: theirs(Histogram, *args, **kwargs),
        lambda *args, **kwargs: theirs(Summary, *args, **kwargs),
    )
    assert ours.generate_metrics(accept) == other.generate_metrics(accept)
    assert "shop_orders_total" in generate_latest(other.registry).decode()


def test_what_an_instrument_is_called(metrics: Any) -> None:
    assert repr(metrics.counter("orders", "Orders")) == "<counter 'orders'>"
    assert metrics.counter("orders", "Orders").labels().inc() is None


# --- where they are used -------------------------------------------------------------------------


def record_all(metrics: Any) -> Callable[[], None]:
    """Return what uses every method once."""
    orders = metrics.counter("orders", "Orders", labelnames=["kind"])
    gifts, queue = orders.labels(kind="gift"), metrics.gauge("queue", "Queue")
    sizes, seconds = metrics.histogram("sizes", "Sizes"), metrics.summary("seconds", "Time")

    def record() -> None:
        gifts.inc()
        orders.inc(2, kind="gift")
        orders.inc(kind=threading.current_thread().name[:1])
        queue.inc(3)
        queue.dec(2)
        with queue.track_inprogress(), seconds.time():
            sizes.observe(0.25)
        try:
            with orders.count_exceptions(ValueError, kind="failed"):
                raise ValueError
        except ValueError:
            pass

    return record


def counted(found: dict[str, float]) -> tuple[float, ...]:
    names = ("gift", "failed", "queue", "sizes_count", "sizes_sum", "seconds_count")
    return tuple(found.get(name, 0.0) for name in names)


def numbers(leg: Leg) -> dict[str, float]:
    found = {labels["kind"]: n for labels, n in samples(leg.registry, "orders_total")}
    for name in ("queue", "sizes_count", "sizes_sum", "seconds_count"):
        found[name] = leg.value(name) or 0.0
    return found


def times(count: int) -> tuple[float, ...]:
    return (3.0 * count, count, count, count, count * 0.25, count)


def test_in_requests_threads_and_tasks(leg: Leg) -> None:
    app = leg.make_app()
    record = record_all(leg.make_metrics(app))
    app.add_url_rule("/", "view", leg.view(lambda: [record(), "done"][1]))
    for _ in range(10):
        leg.get(app, "/")
    start = threading.Barrier(4)

    def work() -> None:
        start.wait(60)
        for _ in range(250):
            record()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def task() -> None:
        for _ in range(10):
            record()
            await asyncio.sleep(0)

    async def tasks() -> None:
        await asyncio.gather(*(task() for _ in range(10)))

    asyncio.run(tasks())
    assert counted(numbers(leg)) == times(10 + 1000 + 100)


def test_a_forked_child_starts_from_zero(leg: Leg) -> None:
    record = record_all(leg.make_metrics(None))
    record()

    def child() -> None:
        record()
        record()
        assert counted(numbers(leg)) == times(2)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        workers.run(child)
    assert counted(numbers(leg)) == times(1)


def test_numbers_of_several_workers_are_exact_also_of_killed_ones(leg: Leg, shared: object) -> None:
    app = leg.make_app()
    record = record_all(leg.make_metrics(app))

    def work() -> None:
        for _ in range(30):
            record()

    work()
    workers.run(work)
    workers.kill_after(work)
    found = workers.samples(leg.get(app, "/metrics").text)
    by_name = {name: n for (name, labels), n in found.items() if not labels}
    by_name |= {dict(labels).get("kind", ""): n for (_, labels), n in found.items() if labels}
    # The gauge's mode is livesum: of living workers, which is this one.
    assert counted({**by_name, "queue": by_name["queue"] * 3}) == times(90)


@needs_mostrecent
def test_the_most_recent_value_of_several_workers(leg: Leg, shared: Any) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    newest = metrics.gauge("newest", "Newest", multiprocess_mode="mostrecent", labelnames=["of"])
    living = metrics.gauge("living", "Newest of the living", multiprocess_mode="livemostrecent")
    level = metrics.gauge("level", "Levels", multiprocess_mode="max")

    def worker(value: float) -> Callable[[], None]:
        def work() -> None:
            newest.set(value, of="all")
            living.set(value)
            level.set(value)

        return work

    worker(5)()
    workers.run(worker(9))
    workers.kill_after(worker(7))
    found = workers.samples(leg.get(app, "/metrics").text)
    assert workers.value(found, "newest", of="all") == 7
    assert workers.value(found, "living") == 5
    assert workers.value(found, "level") == 9
    for value in range(150):
        newest.set(value, of="all")
    newest.set(3, of="all")
    for file in os.listdir(shared):  # the numbers and their times move to new files
        os.unlink(os.path.join(shared, file))
    living.set(4)
    leg.get(app, "/metrics")
    found = workers.samples(leg.get(app, "/metrics").text)
    assert workers.value(found, "newest", of="all") == 3
    assert workers.value(found, "living") == 4
    assert workers.value(found, "level") == 5


def test_values_that_are_set_where_no_file_can_be_made(
    leg: Leg, shared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> Any:
        raise OSError("no room")

    metrics = leg.make_metrics(None)
    monkeypatch.setattr("promweb.multiprocess.file_storage.OwnFile", fail)
    for mode in ("max", "mostrecent"):
        if mode in getattr(Gauge, "_MULTIPROC_MODES", ()) or mode == "max":
            gauge = metrics.gauge(f"level_{mode}", "Level", multiprocess_mode=mode)
            for value in range(150):
                gauge.set(value)
            assert gauge.inc() is None


def test_buckets_are_those_of_prometheus_client_unless_given(leg: Leg, metrics: Any) -> None:
    metrics.histogram("a", "A")
    metrics.histogram("b", "B", buckets=None)
    for name in ("a", "b"):
        assert len(samples(leg.registry, f"{name}_bucket")) == len(Histogram.DEFAULT_BUCKETS)
    with pytest.raises(ValueError, match="counter ''"):
        metrics.counter("", "None", namespace="shop")


def test_a_gauge_is_set_where_no_memory_is_left_for_a_flush(
    leg: Leg, metrics: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = metrics.gauge("queue", "Queue")

    def fail(self: object) -> None:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr("promweb.core.families.children.Child.flush", fail)
        for number in range(30):
            queue.set(number)
    assert leg.value("queue") == 29


def test_an_asynchronous_block_with_wrong_labels_or_without_a_child(
    leg: Leg, metrics: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = metrics.summary("seconds", "Time", labelnames=["of"])

    async def work(**labels: str) -> None:
        async with seconds.time(**labels):
            pass

    asyncio.run(work(off="a"))
    assert errors(leg) == {("seconds", "of"): 1}

    def fail(self: object) -> None:
        raise OSError

    with monkeypatch.context() as broken:
        broken.setattr("promweb.core.families.children.Child.clear", fail)
        asyncio.run(work(of="a"))
    assert "OSError" in caplog.text
    asyncio.run(work(of="a"))
    assert leg.value("seconds_count", of="a") == 1


def test_label_values_without_a_hash(leg: Leg, metrics: Any) -> None:
    calls = metrics.counter("calls", "Calls", labelnames=["of"])
    busy = metrics.gauge("busy", "Busy", labelnames=["of"])
    seconds = metrics.summary("seconds", "Time", labelnames=["of"])
    for _ in range(2):
        calls.labels(of=[1]).inc()
        busy.inc(of=[1])
        seconds.observe(1, of=[1])
        with seconds.time(of=[1]), calls.count_exceptions(of=[1]):
            pass
    assert leg.value("calls_total", of="[1]") == 2
    assert leg.value("busy", of="[1]") == 2
    assert leg.value("seconds_count", of="[1]") == 4
