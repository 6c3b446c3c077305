"""promweb logs its own failures once, and no request notices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from prometheus_client import CollectorRegistry

from promweb.adapters.protocols.worker_threads import SharedWork
from promweb.core.families.children import PENDING_LIMIT, Child
from promweb.core.families.family import Family
from promweb.core.families.kinds import GaugeFamily, HistogramFamily
from promweb.core.requests.exchange import Exchange, Outcome
from promweb.core.requests.site import Site
from promweb.multiprocess.file_storage import FileStorage
from tests.support import workers
from tests.support.legs import Leg
from tests.support.recorded import Done, expected, samples
from tests.support.waiting import DEADLINE


def break_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every new label set fail."""

    def fail(*args: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(Child, "clear", fail)


def test_new_label_set_that_fails(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    counted = metrics.counter("calls", "Calls.", labels={"path": lambda: leg.web.request.path})
    gauged = metrics.gauge("open", "Open.", labels={"path": lambda: leg.web.request.path})
    app.add_url_rule("/", view_func=counted(gauged(leg.view(lambda: "ok"))), endpoint="view")
    break_family(monkeypatch)
    with caplog.at_level(logging.ERROR, "promweb"):
        for _ in range(3):
            assert leg.get(app, "/").text == "ok"
    told = [record.getMessage() for record in caplog.records if record.name == "promweb"]
    assert len(told) == len(set(told)) == 3  # the request, the counter, the gauge
    assert samples(leg.registry) == {}


@pytest.mark.parametrize("sizes", [False, True])
def test_known_label_set_that_fails(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, sizes: bool
) -> None:
    app = leg.make_app()
    leg.make_metrics(app, response_size=sizes)
    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")
    assert leg.get(app, "/").status == 200
    monkeypatch.setattr("promweb.core.families.children.PENDING_LIMIT", "not a number")
    with caplog.at_level(logging.ERROR, "promweb"):
        assert [leg.get(app, "/").status for _ in range(2)] == [200, 200]
    assert [record.name for record in caplog.records].count("promweb") == 1


def test_websocket_group_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A name that is taken shows when the first websocket connects: not the client's fault."""
    import quart
    from prometheus_client import Counter

    from promweb import AsyncPrometheusMetrics

    registry = CollectorRegistry()
    app = quart.Quart("shop")
    AsyncPrometheusMetrics(app, registry=registry)
    Counter("flask_websocket_messages", "Taken.", registry=registry)

    @app.websocket("/")
    async def echo() -> None:
        await quart.websocket.send(await quart.websocket.receive())

    async def talk() -> Any:
        async with app.test_client().websocket("/") as client:
            await client.send("hello")
            return await client.receive()

    with caplog.at_level(logging.ERROR, "promweb"):
        assert asyncio.run(talk()) == "hello"
    assert "measure a websocket connection" in caplog.text
    assert not [name for name in samples(registry) if "connection" in name]


def test_flush_within_a_flush_counts_everything_once() -> None:
    """A signal handler may record, and even scrape, in the middle of a flush."""
    found: list[Any] = []

    class Bounds(Sequence[float]):
        """Bounds of buckets, and a signal that comes when a flush looks at them."""

        def __getitem__(self, index: Any) -> Any:
            if not found:
                found.append("signal")
                child.observe(1.5)
                found.append(child.snapshot())
            return (1.0, 2.0, float("inf"))[index]

        def __len__(self) -> int:
            return 3

    family = HistogramFamily("h", "d", ("a",), buckets=(1.0, 2.0))
    family.bounds = Bounds()
    child = family.child(("x",))
    child.observe(0.5)
    child.flush()
    assert found == ["signal", ([0, 0, 0], 0.0)]
    assert child.snapshot() == ([1, 1, 0], 2.0)
    assert child.total == 2


@pytest.mark.parametrize("count", [0, 1, PENDING_LIMIT - 1, PENDING_LIMIT, 3 * PENDING_LIMIT + 1])
def test_observations_are_flushed_whenever_somebody_looks(count: int) -> None:
    child = HistogramFamily("h", "d", ("a",), buckets=(1.0, 2.0)).child(("x",))
    for index in range(count):
        child.observe((0.5, 1.0, 1.5, 2.5, -1.0)[index % 5])
        assert len(child.pending) < PENDING_LIMIT
    each = [len(range(start, count, 5)) for start in range(5)]
    buckets = [each[0] + each[1] + each[4], each[2], each[3]]
    total = 0.5 * each[0] + 1.0 * each[1] + 1.5 * each[2] + 2.5 * each[3] - 1.0 * each[4]
    assert child.snapshot() == (buckets, total)
    assert child.total == count


@pytest.mark.parametrize("record", ["inc", "dec", "observe"])
def test_files_refuse_what_is_no_number(record: str, tmp_path: Path) -> None:
    family_class = HistogramFamily if record == "observe" else GaugeFamily
    family: Family[Any] = family_class("f", "d", ("a",))
    workers.keep(FileStorage(str(tmp_path)), family)
    child = family.child(("x",))
    getattr(child, record)(1)
    with pytest.raises(OverflowError):
        getattr(child, record)(10**400)
    getattr(child, record)(2.5)
    numbers = family.numbers(child)
    assert numbers[-1] == (-3.5 if record == "dec" else 3.5)
    assert record != "observe" or numbers[-2] == 2.0  # their count
    assert all(isinstance(number, float) for number in numbers)


def test_only_the_first_response_counts(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    site: Site = app.extensions["promweb"]
    exchange = Exchange(site)

    class Request:
        url_rule = None
        method = "GET"
        path = "/"

    exchange.request = Request()
    exchange.respond(201)
    exchange.respond(202)
    exchange.finish()
    exchange.finish(Outcome.FAILED)
    assert samples(leg.registry) == expected(Done("GET", "<unmatched>", 201))


def test_wrong_default_label_names_the_argument(leg: Leg) -> None:
    with pytest.raises(ValueError, match=r"default_labels: .*le"):
        leg.make_metrics(None, default_labels={"le": "1"})


def test_scrape_that_is_cancelled_before_it_has_a_thread() -> None:
    """Another task that waits for the scrape does the work."""

    async def main() -> None:
        limiter = anyio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = 1
        shared: SharedWork[str] = SharedWork()
        async with limiter:  # no thread for anybody
            first = asyncio.create_task(shared.run("key", lambda: "first"))
            await anyio.wait_all_tasks_blocked()
            second = asyncio.create_task(shared.run("key", lambda: "second"))
            await anyio.wait_all_tasks_blocked()
            first.cancel()
            await asyncio.wait({first})
        assert await asyncio.wait_for(second, DEADLINE) == "second"
        assert shared._running == {}

    asyncio.run(main())


def test_a_group_attribute_that_raises(leg: Leg) -> None:
    app = leg.make_app()

    class Request(app.request_class):  # type: ignore[misc, name-defined]
        @property
        def tenant(self) -> str:
            raise RuntimeError("there is none")

    app.request_class = Request
    leg.make_metrics(app, group_by="tenant")
    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")
    for _ in range(3):
        assert leg.get(app, "/").text == "ok"
    name = "flask_http_request_duration_seconds_count"
    assert leg.value(name, method="GET", tenant="<error>", status="200") == 3
