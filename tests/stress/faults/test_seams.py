"""Exceptions of foreign code that promweb calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
import quart
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily

from promweb.core.families.children import Child, NumberChild, ObservedChild
from promweb.core.families.kinds import CounterFamily, GaugeFamily, HistogramFamily
from tests.support.asgi import Socket
from tests.support.legs import LEGS, Leg
from tests.support.recorded import labels, samples

from .seams import COUNTS, ERRORS, Fault, Log, answers, bare, check, counts, fail, log, route

__all__ = ["log"]


class Raising:
    """A callable that raises one exception after the other, and then starts over."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        raise ERRORS[self.calls % len(ERRORS)].with_traceback(None)


@pytest.mark.parametrize("where", ["label", "awaited", "response", "default", "group", "exemplar"])
def test_callables_that_raise_anything(leg: Leg, where: str, log: Log) -> None:
    """Labels, groups, exemplars: exceptions of every class that Python has."""
    app, raising = leg.make_app(), Raising()
    raising.__name__ = "raising"  # type: ignore[attr-defined]

    def of_response(response: Any) -> str:
        return raising()

    async def awaited() -> str:
        return raising()

    def group(request: Any) -> str:
        return raising()

    options: dict[str, Any] = {
        "default": {"default_labels": {"raising": raising.__call__}},
        "group": {"group_by": group},
        "exemplar": {"exemplar": raising.__call__},
    }.get(where, {})
    metrics = leg.make_metrics(app, in_progress=True, **options)
    if where == "awaited" and leg.name.startswith("flask"):
        pytest.skip("awaits no labels")
    value: Any = {"label": raising.__call__, "awaited": awaited, "response": of_response}.get(
        where, "constant"
    )
    route(leg, app, metrics.counter("views", "Views.", {"raising": value}))
    rounds = len(ERRORS) // 5 + 1
    app.logger.disabled = True
    expected = bare(leg)
    for _ in range(rounds):
        assert answers(leg, app) == expected
    assert raising.calls > len(ERRORS)
    assert counts(leg) == {key: rounds * number for key, number in COUNTS.items()}
    assert sum(counts(leg, "views_total").values()) == 8 * rounds
    told = [message for message in log.messages if "http" in message or "views" in message]
    assert len(log.messages) == len(set(log.messages)) >= 1
    if where != "exemplar":
        errors = samples(leg.registry)["promweb_label_errors_total"]
        assert sum(errors.values()) == raising.calls
        assert len(told) == len(errors)


@pytest.mark.parametrize("error", [MemoryError, RecursionError, ValueError])
@pytest.mark.parametrize("of", [Child, NumberChild, ObservedChild])
def test_no_memory_for_numbers(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, log: Log, of: Any, error: type[Exception]
) -> None:
    """A new label set, or a batch, that cannot be made: in progress is left as it was."""
    app = leg.make_app()
    metrics, other = leg.make_metrics(app, in_progress=True), CollectorRegistry()
    leg.make_metrics(app, path=None, registry=other, in_progress=True)
    route(leg, app, metrics.gauge("busy", "Busy.", {"path": lambda: leg.web.request.path}))
    app.logger.disabled = True
    expected = bare(leg)

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    name = "clear" if of is Child else "flush"  # "clear" is what a new child begins with
    if of is not Child:
        monkeypatch.setattr("promweb.core.families.children.PENDING_LIMIT", 1)
    with monkeypatch.context() as broken:
        broken.setattr(of, name, fail)
        assert answers(leg, app) == expected
    assert max(map(log.messages.count, log.messages), default=0) <= 2  # once for each registry
    before = {} if of is Child else COUNTS
    found = counts(leg)
    if error is ValueError and of is not Child:
        return  # no batch raises that; the answers are what matters
    assert found == before
    assert answers(leg, app) == expected
    assert counts(leg) == {key: before.get(key, 0.0) + COUNTS[key] for key in COUNTS}
    assert set(samples(leg.registry)["busy"].values()) == {0.0}
    failed = counts(leg, "flask_http_request_exceptions_total")
    assert failed == {("POST", "500"): 2.0 if of is Child else 4.0}
    for registry in (leg.registry, other):
        assert set(samples(registry)["flask_http_requests_in_progress"].values()) == {0.0}


@pytest.mark.parametrize("direction", ["inc", "dec"])
def test_gauge_that_cannot_move(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, log: Log, direction: str
) -> None:
    """A gauge that did not go up does not go down."""
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    route(leg, app, metrics.gauge("busy", "Busy."))
    app.logger.disabled = True
    expected = bare(leg)
    with monkeypatch.context() as broken:
        broken.setattr(NumberChild, direction, fail)
        assert answers(leg, app) == expected
    assert counts(leg) == COUNTS
    assert len(log.messages) == len(set(log.messages)) >= 2
    if direction == "inc":
        assert set(samples(leg.registry)["flask_http_requests_in_progress"].values()) == {0.0}
        assert samples(leg.registry)["busy"] == {labels(): 0.0}


@pytest.mark.parametrize("at", range(1, 9))
def test_batch_that_is_interrupted_is_taken_whole_later(at: int) -> None:
    """A signal handler raises in the middle of it, as one that ends a request too late does."""

    class Interrupted(Sequence[float]):
        """Bounds of buckets, and a signal that comes when somebody looks at them."""

        left = 0

        def __getitem__(self, index: Any) -> Any:
            Interrupted.left -= 1
            if Interrupted.left == 0:
                raise KeyboardInterrupt
            return (1.0, 2.0, 4.0, float("inf"))[index]

        def __len__(self) -> int:
            return 4

    family = HistogramFamily("time", "Time.", buckets=(1, 2, 4))
    family.bounds = Interrupted()
    child = family.child(())
    for amount in (0.5, 1.5, 1.75, 3.0, 8.0):
        child.observe(amount)
    Interrupted.left = at
    with suppress(KeyboardInterrupt):
        child.flush()
        pytest.fail("was not interrupted")
    assert child.snapshot() == ([1, 2, 1, 1], 14.75)
    assert child.total == 5


def test_sum_that_is_interrupted_is_taken_whole_later(monkeypatch: pytest.MonkeyPatch) -> None:
    child = CounterFamily("calls", "Calls.").child(())
    child.inc(2.0)
    child.inc(3.0)
    with monkeypatch.context() as interrupting:
        interrupting.setattr("promweb.core.families.children.sum", fail, raising=False)
        with pytest.raises(Fault):
            child.flush()
    assert child.value == 5.0


@pytest.mark.parametrize("what", ["handler", "filter"])
def test_logging_that_raises(leg: Leg, what: str) -> None:
    """A handler of the program's own need not catch what it raises."""

    class Handler(logging.Handler):
        calls = 0

        def handle(self, record: Any) -> Any:
            Handler.calls += 1
            raise Fault

    logger = logging.getLogger("promweb")
    handler = Handler()
    add, remove = logger.addHandler, logger.removeHandler
    if what == "filter":
        add, remove = logger.addFilter, logger.removeFilter  # type: ignore[assignment]
        handler.filter = handler.handle  # type: ignore[method-assign]
    app = leg.make_app()
    metrics = leg.make_metrics(app, max_series=3, default_labels={"broken": lambda: fail()})
    many = iter(count())
    route(leg, app, metrics.counter("views", "Views.", {"number": lambda: next(many)}))
    app.logger.disabled = True
    expected = bare(leg)
    add(handler)
    try:
        assert answers(leg, app) == expected
    finally:
        remove(handler)
    assert Handler.calls > 2
    assert sum(counts(leg).values()) == 10.0
    assert sum(counts(leg, "views_total").values()) == 8.0
    assert sum(counts(leg, "promweb_label_errors_total").values()) == 18.0


def test_clock_that_goes_backwards(leg: Leg, log: Log) -> None:
    app = leg.make_app()
    ticks, clock = count(), leg.clock
    leg.clock = lambda: -float(next(ticks))  # type: ignore[assignment]
    metrics = leg.make_metrics(
        app, in_progress=True, response_start=True, exemplar=lambda: {"trace": "1"}
    )
    timed = metrics.histogram("time", "Time.")
    summed = metrics.summary("sum", "Sum.")
    leg.clock = clock
    check(leg, route(leg, app, lambda view: timed(summed(view))))
    found = samples(leg.registry)
    for name in ("time", "sum"):
        assert found[f"{name}_count"] == {labels(): 8.0}
        assert found[f"{name}_sum"] == {labels(): 0.0}
    for name in ("request_duration", "response_start"):
        assert set(found[f"flask_http_{name}_seconds_sum"].values()) == {0.0}
    exemplars = [
        sample.exemplar.value
        for metric in leg.registry.collect()
        for sample in metric.samples
        if sample.exemplar is not None and sample.name.endswith("_bucket")
    ]
    assert len(exemplars) > 4
    assert set(exemplars) == {0.0}
    assert log.messages == []


def test_response_class_that_takes_no_status(leg: Leg, log: Log) -> None:
    """Labels of an exception that propagates see a response of it."""
    app = leg.make_app(testing=True)
    metrics = leg.make_metrics(app)
    counted = metrics.counter("views", "Views.", {"status": lambda response: response.status_code})
    app.add_url_rule("/", "view", counted(leg.view(fail)))

    class Response(leg.web.Response):  # type: ignore[name-defined,misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if not args:
                raise TypeError("an answer, please")
            super().__init__(*args, **kwargs)

    app.response_class = Response
    with suppress(Fault):  # Quart makes a page of it
        leg.get(app, "/")
    assert samples(leg.registry)["views_total"] == {labels(status="<error>"): 1.0}
    assert leg.value("flask_http_request_exceptions_total", method="GET", status="500") == 1.0
    assert log.messages[0].startswith("promweb could not make a response for labels to look at")
    assert len(log.messages) == 2  # and the label


def test_default_decorator_that_raises(leg: Leg, log: Log) -> None:
    """It is left out; the others are put around the view."""
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    metrics.register_default(fail, metrics.counter("views", "Views."))
    check(leg, route(leg, app))
    assert samples(leg.registry)["views_total"] == {labels(): 8.0}
    assert len(log.messages) == 3  # one for each view


def test_views_that_cannot_be_looked_at(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    monkeypatch.setattr("promweb.core.mistakes.misplaced", fail)
    monkeypatch.setattr("promweb.core.requests.site.targets", fail)
    check(leg, route(leg, app, metrics.counter("views", "Views.")))
    assert leg.get(app, "/metrics").status == 200
    assert len(log.messages) == 2
    assert any("look at the views" in message for message in log.messages)


@pytest.mark.parametrize("label", ["default", "awaited"])
def test_no_memory_for_labels(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, log: Log, label: str
) -> None:
    async def late() -> str:
        return "late"

    app = leg.make_app()
    if label == "default":
        metrics = leg.make_metrics(app, default_labels={"broken": lambda: fail()})
        route(leg, app, metrics.counter("views", "Views."))
    elif leg.name == "quart-async":
        metrics = leg.make_metrics(app)
        route(leg, app, metrics.gauge("busy", "Busy.", {"late": late}))
    else:
        pytest.skip("awaits no labels")
    app.logger.disabled = True
    expected = bare(leg)
    with monkeypatch.context() as broken:
        broken.setattr(Child, "clear", fail)
        assert answers(leg, app) == expected
    assert len(log.messages) == len(set(log.messages))
    assert answers(leg, app) == expected
    assert sum(counts(leg).values()) == 10.0
    assert set(samples(leg.registry).get("busy", {}).values()) <= {0.0}


@pytest.mark.parametrize("broken", [GaugeFamily, CounterFamily, HistogramFamily])
def test_websocket_that_cannot_be_counted(
    monkeypatch: pytest.MonkeyPatch, log: Log, broken: type[Any]
) -> None:
    """Counts go on; the other side gets the usual answer."""
    leg = LEGS["quart-async"]()
    app = leg.make_app()
    leg.make_metrics(app)
    for family in (GaugeFamily, CounterFamily, HistogramFamily):
        monkeypatch.setattr(family, "child_class", fail if family is broken else family.child_class)

    @app.websocket("/")
    async def talk() -> None:
        text = await quart.websocket.receive()
        await quart.websocket.send(text)

    async def visit() -> list[str]:
        socket = Socket(app)
        socket.say("hello")
        await socket.run()
        return [message.get("text", "") for message in socket.sent]

    assert asyncio.run(visit()) == ["", "hello", ""]
    found = samples(leg.registry)
    name = "flask_websocket_connection"
    assert found.get(f"{name}s_in_progress", {}) == (
        {} if broken is GaugeFamily else {labels(path="/"): 0.0}
    )
    assert found.get(f"{name}_duration_seconds_count", {}) == (
        {} if broken is HistogramFamily else {labels(path="/", close_code="1000"): 1.0}
    )
    assert len(found.get("flask_websocket_messages_total", {})) == 2 * (broken != CounterFamily)
    assert log.messages == [
        "promweb could not measure a websocket connection; the request was not affected."
    ]


# --- scrapes ------------------------------------------------------------------------------------


class Broken:
    """A collector whose `collect` raises, before or after its first family."""

    def __init__(self, error: BaseException, late: bool) -> None:
        self.error, self.late = error, late

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        if self.late:
            yield GaugeMetricFamily("first", "First.", value=1.0)
        raise self.error.with_traceback(None)


@pytest.mark.parametrize("late", [True, False])
def test_collector_that_raises_anything(leg: Leg, late: bool, log: Log) -> None:
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)
    collector = Broken(ValueError(), late)
    leg.registry.register(collector)  # type: ignore[arg-type]
    for error in ERRORS:
        collector.error = error
        reply = leg.get(app, "/metrics")
        assert reply.status == 500
        # Python makes another exception of a generator's StopIteration, without its frame.
        assert "Broken" in reply.text or isinstance(error, StopIteration)
    leg.registry.unregister(collector)  # type: ignore[arg-type]
    assert leg.get(app, "/metrics").status == 200
    assert 1 <= len(log.messages) == len(set(log.messages)) <= 2
    assert samples(leg.registry).get("flask_http_request_total", {}) == {}


def test_registry_that_raises(leg: Leg, log: Log) -> None:
    class Registry(CollectorRegistry):
        is_broken = False

        def collect(self) -> Any:
            return fail() if self.is_broken else super().collect()

    leg.registry = Registry()
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)
    route(leg, app)
    leg.registry.is_broken = True
    assert leg.get(app, "/metrics").status == 500
    leg.registry.is_broken = False
    check(leg, app)
    assert len(log.messages) == 1


@pytest.mark.parametrize("where", ["called", "not a response"])
def test_metrics_decorator_that_raises(leg: Leg, where: str) -> None:
    def decorate(view: Any) -> Any:
        return fail if where == "called" else lambda: object()

    app = leg.make_app()
    leg.make_metrics(app, in_progress=True, metrics_decorator=decorate)
    route(leg, app)
    app.logger.disabled = True
    assert leg.get(app, "/metrics").status == 500
    check(leg, app)
