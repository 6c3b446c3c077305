"""Scrapes: formats, negotiation, filters, compression, and collectors that fail."""

from __future__ import annotations

import gzip
import inspect
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client import exposition as client
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from promweb import PrometheusMetrics
from tests.support.legs import LEGS, Leg
from tests.support.registries import collectors
from tests.support.samples import names, samples

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
HAS_ESCAPING = hasattr(client, "CONTENT_TYPE_PLAIN_1_0_0")
"""Whether this prometheus_client negotiates names in UTF-8 and how to escape them."""

needs_escaping = pytest.mark.skipif(not HAS_ESCAPING, reason="prometheus_client is too old")


@pytest.fixture
def shop(leg: Leg) -> Any:
    """Return an application with metrics of every kind, promweb's and prometheus_client's."""
    app = leg.make_app()
    app.logger.disabled = True
    metrics = leg.make_metrics(app, default_labels={"tier": 'we"b\\\n'})

    @app.route("/items/<name>")
    @metrics.counter("calls", "Calls,\nin \\ two lines.", labels={"status": lambda r: r.status})
    @metrics.gauge("busy", "Busy.")
    @metrics.histogram("time", "Time.", labels={"who": "é"}, buckets=(0.1, 0.25, 1e6))
    @metrics.summary("size", "Size.", unit="bytes")
    @leg.view
    def item(name: str) -> str:
        leg.clock.advance(0.25)
        if name == "broken":
            raise ValueError(name)
        return name

    metrics.info("build", "Build.", revision="12", branch="é")
    registry = leg.registry
    Counter("own_counter", "Own.", ["a"], registry=registry).labels("x").inc(0.1)
    Gauge("own_gauge", "Own.", registry=registry).set(float("-inf"))
    Histogram("own_histogram", "Own.", registry=registry).observe(3)
    Summary("own_summary", "Own.", registry=registry).observe(3)
    Info("own", "Own.", registry=registry).info({"version": "1"})
    Enum("own_enum", "Own.", states=["a", "b"], registry=registry).state("b")
    if HAS_ESCAPING:
        Counter("own.dotted", "Own.", ["own label"], registry=registry).labels("é").inc()
    for path in ("/items/tea", "/items/broken", "/nowhere"):
        leg.get(app, path)
    return app


def scrape(leg: Leg, app: Any, accept: str | None = None, query: str = "", **headers: str) -> Any:
    sent = {**headers, **({} if accept is None else {"Accept": accept})}
    return leg.get(app, f"/metrics{query}", headers=sent)


def plain(registry: Any) -> bytes:
    return client.generate_latest(registry)


# --- formats ------------------------------------------------------------------------------------


def test_body_holds_what_was_recorded(leg: Leg, shop: Any) -> None:
    text = scrape(leg, shop).text
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    tier = ("tier", 'we"b\\\n')
    assert found["calls_total", ("status", "500 INTERNAL SERVER ERROR"), tier] == 1.0
    assert found["time_bucket", ("le", "0.1"), tier, ("who", "é")] == 0.0
    assert found["time_bucket", ("le", "0.25"), tier, ("who", "é")] == 2.0
    assert found["time_sum", tier, ("who", "é")] == 0.5
    assert found["size_bytes_count", tier] == 2.0
    assert found["busy", tier] == 0.0
    assert found["build", ("branch", "é"), ("revision", "12")] == 1.0
    assert found["own_counter_total", ("a", "x")] == 0.1
    assert found["flask_http_request_total", ("method", "GET"), ("status", "404"), tier] == 1.0
    assert "# HELP calls_total Calls,\\nin \\\\ two lines.\n# TYPE calls_total counter\n" in text


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "text/plain",
        "text/plain;version=0.0.4",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "application/json",
    ],
)
def test_text_format_is_the_default(leg: Leg, shop: Any, accept: str | None) -> None:
    reply = scrape(leg, shop, accept)
    assert reply.status == 200
    if HAS_ESCAPING:
        assert reply.headers["Content-Type"] == PLAIN
    assert reply.data == plain(leg.registry)
    assert reply.headers["Content-Length"] == str(len(reply.data))


@needs_escaping
@pytest.mark.parametrize("escaping", ["allow-utf-8", "underscores", "dots", "values"])
def test_text_format_1_with_each_escaping(leg: Leg, shop: Any, escaping: str) -> None:
    reply = scrape(leg, shop, f"text/plain;version=1.0.0;escaping={escaping}")
    assert reply.headers["Content-Type"] == (
        f"text/plain; version=1.0.0; charset=utf-8; escaping={escaping}"
    )
    assert reply.data == client.generate_latest(leg.registry, escaping=escaping)


@needs_escaping
@pytest.mark.parametrize("escaping", ["allow-utf-8", "underscores", "dots", "values"])
def test_openmetrics_1_with_each_escaping(leg: Leg, shop: Any, escaping: str) -> None:
    reply = scrape(leg, shop, f"application/openmetrics-text;version=1.0.0;escaping={escaping}")
    assert reply.headers["Content-Type"] == (
        f"application/openmetrics-text; version=1.0.0; charset=utf-8; escaping={escaping}"
    )
    assert reply.data == openmetrics.generate_latest(leg.registry, escaping=escaping)
    assert reply.data.endswith(b"\n# EOF\n")


@needs_escaping
def test_escapings_differ(leg: Leg, shop: Any) -> None:
    bodies = {
        scrape(leg, shop, f"{kind};version=1.0.0;escaping={escaping}").data
        for kind in ("text/plain", "application/openmetrics-text")
        for escaping in ("allow-utf-8", "underscores", "dots", "values")
    }
    assert len(bodies) == 8


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    "accept",
    [
        PROMETHEUS,
        "application/openmetrics-text",
        "application/openmetrics-text; version=0.0.1",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        "text/plain;version=0.0.4,application/openmetrics-text",
        "text/plain ; version=1.0.0 ; escaping=dots",
        "text/plain;version=1.0.0;escaping=nonsense",
        "text/plain;version=2.0",
        "application/openmetrics-text;version=1.0.0;q=0",
    ],
)
def test_negotiation_is_that_of_prometheus_client(leg: Leg, shop: Any, accept: str) -> None:
    encode, content_type = client.choose_encoder(accept)
    reply = scrape(leg, shop, accept)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == content_type
    assert reply.data == encode(leg.registry)


MALFORMED = [
    "text/plain;version=",
    "text/plain;version=abc",
    "text/plain;version=1.x",
    "text/plain;version=1.",
    "text/plain;version=.1",
    "text/plain;version=-1",
    "text/plain;version==1",
    "text/plain;version=1;version=x",
    "text/plain; version =1.x",
    "text/plain;version=\u00b2".encode().decode("latin-1"),
    "text/plain;version=" + "9" * 5000,
    "text/plain;version=" + "1." * 2000 + "1",
    "application/openmetrics-text;version=one",
    "application/openmetrics-text;version=",
    "application/openmetrics-text;version=1.0.0.0.0.0.0",
    "application/openmetrics-text;escaping=",
    "application/openmetrics-text;escaping",
    ";;;,,,;=;=",
    "," * 3000,
    "application/openmetrics-text;version=x," * 50 + "text/plain",
]


@pytest.mark.parametrize("accept", MALFORMED, ids=lambda accept: ascii(accept)[:40])
def test_malformed_accept_header_is_answered(leg: Leg, shop: Any, accept: str) -> None:
    reply = scrape(leg, shop, accept)
    assert reply.status == 200
    if reply.headers["Content-Type"].startswith("text/plain"):
        assert reply.data == plain(leg.registry)
    else:
        assert reply.data.endswith(b"# EOF\n")


def test_endless_accept_header_gives_the_default_format(leg: Leg, shop: Any) -> None:
    reply = scrape(leg, shop, "a/b," * 3000 + "application/openmetrics-text")
    assert (reply.status, reply.data) == (200, plain(leg.registry))


@needs_escaping
def test_malformed_media_range_does_not_spoil_the_others(leg: Leg, shop: Any) -> None:
    reply = scrape(leg, shop, "text/plain;version=x,application/openmetrics-text;version=1.0.0")
    assert reply.data == openmetrics.generate_latest(leg.registry)


TOKENS = st.sampled_from(
    [
        *("text/plain", "application/openmetrics-text", ";", ",", "=", " ", "version", "escaping"),
        *("1", "0.0.4", "1.0.0", ".", "x", "allow-utf-8", "q", "\u0663", "\u00b2", "_", "+", "-"),
    ]
)


@given(st.lists(TOKENS).map("".join))
def test_no_accept_header_raises(accept: str) -> None:
    metrics = PrometheusMetrics.for_app_factory(registry=CollectorRegistry())
    text, content_type = metrics.generate_metrics(accept)
    assert content_type.startswith(("text/plain; version=", "application/openmetrics-text; "))
    assert text in ("", "# EOF\n")


# --- filters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted",
    [
        ["calls_total"],
        ["calls_total", "own_gauge"],
        ["flask_http_request_duration_seconds_count", "flask_http_request_total"],
        ["time_bucket"],
        ["build", "own_info"],
        ["calls_total", "calls_total", "unknown"],
    ],
    ids=str,
)
@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
def test_names_restrict_the_samples(leg: Leg, shop: Any, accept: str, wanted: list[str]) -> None:
    query = "?" + "&".join(f"name[]={name}" for name in wanted)
    reply = scrape(leg, shop, accept, query)
    encode, _ = client.choose_encoder(accept)
    assert reply.data == encode(leg.registry.restricted_registry(wanted))
    found = {
        sample.name
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }
    assert found == set(wanted) - {"unknown"}


TIME = {"time_bucket", "time_count", "time_sum", "time_created"}


@pytest.mark.parametrize(
    ("wanted", "sample_names"),
    [
        (["calls"], {"calls_total", "calls_created"}),
        (["time"], TIME),
        (["time", "own_gauge"], {*TIME, "own_gauge"}),
        (["flask_http_request"], {"flask_http_request_total", "flask_http_request_created"}),
        (["python_gc_objects_collected"], set()),
    ],
)
def test_names_may_be_those_of_families(
    leg: Leg, shop: Any, wanted: list[str], sample_names: set[str]
) -> None:
    reply = scrape(leg, shop, "text/plain", "?" + "&".join(f"name[]={name}" for name in wanted))
    assert {
        line.partition("{")[0].partition(" ")[0]
        for line in reply.text.splitlines()
        if not line.startswith("#")
    } == sample_names
    metrics = leg.make_metrics(None)
    assert metrics.generate_metrics(names=wanted)[0].encode() == reply.data


def test_families_of_prometheus_client_are_found_by_name(leg: Leg) -> None:
    metrics = leg.make_metrics(None, export_defaults=False)
    Summary("own", "Own.", registry=leg.registry).observe(3)
    Gauge("own_size", "A family whose name begins alike.", registry=leg.registry)
    Gauge("stock", "Stock.", registry=leg.registry).set(2)
    Gauge("stock_count", "Another gauge.", registry=leg.registry)
    lines = metrics.generate_metrics(names=["own", "stock"])[0].splitlines()
    found = [line.partition(" ")[0] for line in lines if not line.startswith("#")]
    assert sorted(found) == ["own_count", "own_created", "own_sum", "stock"]


def test_a_name_that_a_family_shares_with_a_sample_is_that_of_the_sample(leg: Leg) -> None:
    class Quantiles:
        def collect(self) -> Any:
            metric = Metric("spans", "Spans.", "summary")
            metric.add_sample("spans", {"quantile": "0.5"}, 2)
            metric.add_sample("spans_count", {}, 4)
            yield metric

        describe = collect

    metrics = leg.make_metrics(None, export_defaults=False)
    leg.registry.register(Quantiles())
    assert metrics.generate_metrics(names=["spans"])[0].encode() == client.generate_latest(
        leg.registry.restricted_registry(["spans"])
    )


@pytest.mark.parametrize("query", ["?name[]=unknown", "?name[]=", "?name[]=a&name[]=%F0%9F"])
def test_unknown_names_give_nothing(leg: Leg, shop: Any, query: str) -> None:
    reply = scrape(leg, shop, None, query)
    assert (reply.status, reply.data) == (200, b"")
    assert scrape(leg, shop, "application/openmetrics-text", query).data == b"# EOF\n"


@pytest.mark.parametrize("query", ["?", "?name=calls_total", "?names[]=x", "?name[=x"])
def test_other_parameters_restrict_nothing(leg: Leg, shop: Any, query: str) -> None:
    assert scrape(leg, shop, None, query).data == plain(leg.registry)


def test_encoded_names_are_understood(leg: Leg, shop: Any) -> None:
    reply = scrape(leg, shop, None, "?name%5B%5D=own_gauge")
    assert reply.data == b"# HELP own_gauge Own.\n# TYPE own_gauge gauge\nown_gauge -Inf\n"


# --- compression --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("gzip, deflate, br", True),
        ("br;q=1.0, gzip;q=0.001, identity;q=0", True),
        ("gzip ; q=1", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;Q=0.0", False),
        ("deflate, gzip;q=0", False),
        ("identity", False),
        ("", False),
        (None, False),
        ("xgzip", False),
        ("gzipped", False),
        (";;,,=", False),
    ],
)
def test_gzip_when_accepted(leg: Leg, shop: Any, accepted: str | None, compressed: bool) -> None:
    headers = {} if accepted is None else {"Accept-Encoding": accepted}
    reply = scrape(leg, shop, **headers)
    assert reply.status == 200
    assert reply.headers.get("Content-Encoding") == ("gzip" if compressed else None)
    body = gzip.decompress(reply.data) if compressed else reply.data
    assert body == plain(leg.registry)
    assert reply.headers["Content-Length"] == str(len(reply.data))
    assert {name.strip() for name in reply.headers["Vary"].split(",")} == {
        "Accept",
        "Accept-Encoding",
    }


# --- methods and requests -----------------------------------------------------------------------


def test_head_has_the_headers_of_get(leg: Leg, shop: Any) -> None:
    get = scrape(leg, shop)
    head = leg.request(shop, "/metrics", "HEAD")
    assert head.status == 200
    assert head.data in (b"", get.data)  # Quart leaves it to the server to drop it
    for header in ("Content-Type", "Content-Length", "Vary"):
        assert head.headers[header] == get.headers[header]
    assert int(head.headers["Content-Length"]) == len(get.data) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "BREW"])
def test_other_methods_are_not_allowed(leg: Leg, shop: Any, method: str) -> None:
    reply = leg.request(shop, "/metrics", method)
    assert reply.status == 405
    assert {"GET", "HEAD"} <= {name.strip() for name in reply.headers["Allow"].split(",")}


def test_scrapes_change_nothing(leg: Leg, shop: Any) -> None:
    first = scrape(leg, shop).data
    scrape(leg, shop, PROMETHEUS)
    leg.request(shop, "/metrics", "HEAD")
    assert scrape(leg, shop).data == first


def test_metrics_decorator_protects_the_endpoint(leg: Leg) -> None:
    app = leg.make_app()

    def check() -> None:
        if leg.web.request.headers.get("Authorization") != "secret":
            leg.web.abort(401)

    def protect(view: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(view):

            async def protected(*args: Any, **kwargs: Any) -> Any:
                check()
                return await view(*args, **kwargs)

        else:

            def protected(*args: Any, **kwargs: Any) -> Any:
                check()
                return view(*args, **kwargs)

        return protected

    leg.make_metrics(app, metrics_decorator=protect)
    assert leg.get(app, "/metrics").status == 401
    reply = scrape(leg, app, Authorization="secret")
    assert (reply.status, reply.data) == (200, plain(leg.registry))


def test_endpoint_may_be_elsewhere_or_nowhere(leg: Leg) -> None:
    app, other = leg.make_app(), leg.make_app()
    leg.make_metrics(app, path="/prom/all")
    leg.make_metrics(other, path=None).register_endpoint("/late")
    assert leg.get(app, "/metrics").status == 404
    assert leg.get(app, "/prom/all").data == plain(leg.registry)
    assert leg.get(other, "/metrics").status == 404
    assert leg.get(other, "/late").data == plain(leg.registry)


# --- collectors that fail -----------------------------------------------------------------------


class Failing:
    """A collector whose source is away."""

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        raise ConnectionError("password=secret")


class Lazy(Failing):
    """A collector that fails half-way."""

    def collect(self) -> Iterator[Metric]:
        yield Metric("fine", "Fine.", "gauge")
        raise ConnectionError("password=secret")


class Unencodable(Failing):
    """A collector that makes a sample whose value is not a number."""

    def collect(self) -> Iterator[Metric]:
        metric = Metric("temperature", "Degrees.", "gauge")
        metric.add_sample("temperature", {}, "warm")  # type: ignore[arg-type]
        yield metric


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
@pytest.mark.parametrize(
    ("collector", "name"),
    [(Failing, "Failing"), (Lazy, "Lazy"), (Unencodable, "temperature")],
)
def test_failing_collector_is_named_and_logged_once(
    leg: Leg,
    shop: Any,
    caplog: pytest.LogCaptureFixture,
    accept: str,
    collector: type[Any],
    name: str,
) -> None:
    before = samples(leg.registry, "flask_http_request_total")
    broken = collector()
    leg.registry.register(broken)
    for headers in ({}, {"Accept-Encoding": "gzip"}, {}):
        reply = scrape(leg, shop, accept, **headers)
        assert reply.status == 500
        assert reply.headers["Content-Type"].startswith("text/plain")
        assert name in reply.text
        assert "secret" not in reply.text
    records = [record for record in caplog.records if record.name == "promweb"]
    assert [record.levelno for record in records] == [logging.ERROR]
    assert name in records[0].getMessage()
    assert records[0].exc_info is not None

    leg.registry.unregister(broken)
    assert scrape(leg, shop, accept).status == 200
    assert samples(leg.registry, "flask_http_request_total") == before


def test_each_failing_collector_is_logged(leg: Leg, caplog: pytest.LogCaptureFixture) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    for collector in (Failing(), Unencodable()):
        leg.registry.register(collector)
        assert leg.get(app, "/metrics").status == 500
        leg.registry.unregister(collector)
    assert len([record for record in caplog.records if record.name == "promweb"]) == 2


def test_a_scrape_that_fails_without_a_collector_blames_none(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = leg.make_app()
    leg.make_metrics(app)

    def fail(accept: str) -> Any:
        raise TypeError("expected str")

    monkeypatch.setattr("promweb.core.exposition.negotiation.choose_encoder", fail)
    reply = leg.get(app, "/metrics")
    assert (reply.status, reply.text) == (500, "promweb failed: TypeError\n")
    (record,) = (record for record in caplog.records if record.name == "promweb")
    assert "could not answer a scrape (promweb failed);" in record.getMessage()


def test_generate_metrics_raises_what_a_collector_raises() -> None:
    metrics = PrometheusMetrics.for_app_factory(registry=CollectorRegistry())
    metrics.registry.register(Failing())
    with pytest.raises(ConnectionError):
        metrics.generate_metrics()


# --- like prometheus_client's own metrics -------------------------------------------------------


@pytest.fixture
def created() -> Iterator[Callable[[bool], None]]:
    """Return prometheus_client's switch for `_created` series, and put it back afterwards."""
    if not hasattr(prometheus_client, "disable_created_metrics"):
        pytest.skip("prometheus_client is too old")
    probe = Counter("probe", "Probe.", registry=None)
    before = len(next(iter(probe.collect())).samples) > 1

    def switch(on: bool) -> None:
        if on:
            prometheus_client.enable_created_metrics()
        else:
            prometheus_client.disable_created_metrics()

    yield switch
    switch(before)


def twins() -> tuple[CollectorRegistry, CollectorRegistry]:
    """Return a registry of promweb's families and one of prometheus_client's, with equal data."""
    leg = LEGS["flask-sync"]()
    metrics = leg.make_metrics(None)
    theirs = CollectorRegistry()
    who = {"who": 'a"b\\\né'}
    seconds = (0.0, 0.005, 0.25, 0.3, 20.0)
    current = [0.0]

    def advance() -> None:
        leg.clock.now = 0.0  # so that differences are exact
        leg.clock.now += current[0]

    def run(decorator: Any) -> None:
        job = decorator(advance)
        for current[0] in seconds:
            leg.clock.now = 0.0
            job()

    run(metrics.counter("jobs", "Jobs \\ \n.", labels=who))
    counter = Counter("jobs", "Jobs \\ \n.", ["who"], registry=theirs)
    run(metrics.gauge("busy", "Busy."))
    Gauge("busy", "Busy.", registry=theirs)
    run(metrics.summary("time", "Time.", labels=who, unit="seconds", namespace="shop"))
    summary = Summary("time", "Time.", ["who"], unit="seconds", namespace="shop", registry=theirs)
    run(metrics.histogram("delay", "Delay.", labels=who))
    histogram = Histogram("delay", "Delay.", ["who"], registry=theirs)
    run(metrics.histogram("plain", "Delay.", buckets=("0.25", 1, 1e9), subsystem="sub"))
    bare = Histogram("plain", "Delay.", buckets=("0.25", 1, 1e9), subsystem="sub", registry=theirs)
    for amount in seconds:
        counter.labels(**who).inc()
        for family in (summary.labels(**who), histogram.labels(**who), bare):
            family.observe(amount)
    return leg.registry, theirs


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
def test_families_look_like_those_of_prometheus_client(
    created: Callable[[bool], None], accept: str
) -> None:
    created(False)
    ours, theirs = twins()
    encode, _ = client.choose_encoder(accept)
    assert encode(ours) == encode(theirs)
    assert b"delay_bucket" in encode(ours)


@pytest.mark.parametrize("on", [True, False])
def test_created_series_are_switched_by_prometheus_client(
    created: Callable[[bool], None], on: bool
) -> None:
    created(on)
    ours, theirs = twins()

    def outline(registry: CollectorRegistry) -> list[Any]:
        return [
            (metric.name, metric.type, metric.unit, [(s.name, s.labels) for s in metric.samples])
            for metric in registry.collect()
        ]

    assert outline(ours) == outline(theirs)
    expected = {"jobs_created", "shop_time_seconds_created", "delay_created", "sub_plain_created"}
    assert {name for name in names(ours) if "created" in name} == (expected if on else set())


def test_created_series_hold_the_time_of_the_first_use(
    created: Callable[[bool], None],
) -> None:
    created(True)
    leg = LEGS["flask-sync"]()
    before = time.time()
    job = leg.make_metrics(None).counter("jobs", "Jobs.", labels={"a": "1"})(lambda: None)
    after = time.time()
    first = leg.value("jobs_created", a="1")
    assert first is not None
    assert before <= first <= after
    job()
    assert leg.value("jobs_created", a="1") == first


# --- registries ---------------------------------------------------------------------------------


def test_unregistered_family_is_made_anew(leg: Leg) -> None:
    metrics = leg.make_metrics(None)
    metrics.counter("jobs", "Jobs.", labels={"a": "1"})(lambda: None)()
    unregister_everything(leg.registry)
    assert names(leg.registry) == set()

    fresh = metrics.counter("jobs", "Jobs.", labels={"b": "1"})(lambda: None)
    assert samples(leg.registry, "jobs_total") == [({"b": "1"}, 0.0)]
    fresh()
    assert samples(leg.registry, "jobs_total") == [({"b": "1"}, 1.0)]


def test_registry_that_was_emptied_gets_the_default_metrics_anew(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    leg.get(app, "/nowhere")
    unregister_everything(leg.registry)

    second = leg.make_app()
    metrics = leg.make_metrics(second)
    metrics.info("build", "Build.", revision="1")
    leg.get(second, "/metrics-of-nobody")
    assert samples(leg.registry, "flask_http_request_total") == [
        ({"method": "GET", "status": "404"}, 1.0)
    ]
    unregister_everything(leg.registry)
    metrics.info("build", "Build.", version="2")
    assert samples(leg.registry, "build") == [({"version": "2"}, 1.0)]


def test_self_metrics_come_back_after_they_were_unregistered(leg: Leg) -> None:
    leg.make_metrics(None)
    unregister_everything(leg.registry)
    metrics = leg.make_metrics(None)
    metrics.counter("jobs", "Jobs.", labels={"a": lambda: 1 / 0})(lambda: None)()
    assert samples(leg.registry, "promweb_label_errors_total") == [
        ({"metric": "jobs", "label": "a"}, 1.0)
    ]


def unregister_everything(registry: CollectorRegistry) -> None:
    """Do what many test suites do between tests."""
    for collector in collectors(registry):
        registry.unregister(collector)


def test_self_metrics_are_invisible_until_something_happened(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, max_series=2)
    current = [0]

    @app.route("/")
    @metrics.counter("calls", "Calls.", labels={"a": lambda: 10 // current[0]})
    @leg.view
    def index() -> str:
        return "ok"

    current[0] = 10
    leg.get(app, "/")
    assert "promweb" not in scrape(leg, app).text
    assert "promweb" not in scrape(leg, app, PROMETHEUS).text
    assert not [metric.name for metric in leg.registry.collect() if "promweb" in metric.name]

    current[0] = 0
    leg.get(app, "/")
    text = scrape(leg, app).text
    assert 'promweb_label_errors_total{label="a",metric="calls"} 1.0\n' in text
    assert 'promweb_series_folded_total{metric="calls"} 1.0\n' in text
    assert scrape(leg, app).data == plain(leg.registry)


def test_global_registry_is_looked_up_when_the_object_is_created(
    leg: Leg, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    monkeypatch.setattr(prometheus_client, "REGISTRY", first)
    app = leg.make_app()
    metrics = leg.make_metrics(app, registry=None)
    monkeypatch.setattr(prometheus_client, "REGISTRY", second)
    metrics.counter("jobs", "Jobs.")
    assert metrics.registry is first
    assert "jobs_total" in names(first)
    assert names(second) == set()
    assert leg.get(app, "/metrics").data == plain(first)


# --- generate_metrics ---------------------------------------------------------------------------


def test_generate_metrics_is_the_body_of_a_scrape(leg: Leg, shop: Any) -> None:
    metrics = leg.make_metrics(None)
    assert metrics.generate_metrics() == (plain(leg.registry).decode(), scrape_type(leg, shop))
    for accept in ("text/plain;version=1.0.0", "application/openmetrics-text", PROMETHEUS):
        encode, content_type = client.choose_encoder(accept)
        expected = (encode(leg.registry).decode(), content_type)
        assert metrics.generate_metrics(accept) == expected
        assert metrics.generate_metrics(accept_header=accept) == expected
    own = "# HELP own_gauge Own.\n# TYPE own_gauge gauge\nown_gauge -Inf\n"
    assert metrics.generate_metrics(names=["own_gauge"])[0] == own
    assert metrics.generate_metrics(None, ["own_gauge", "nothing"])[0] == own


def scrape_type(leg: Leg, app: Any) -> str:
    return scrape(leg, app).headers["Content-Type"]


def test_generate_metrics_needs_no_application() -> None:
    metrics = PrometheusMetrics.for_app_factory(registry=CollectorRegistry())
    metrics.info("build", "Build.", revision="1")
    text, _ = metrics.generate_metrics()
    assert text == '# HELP build Build.\n# TYPE build gauge\nbuild{revision="1"} 1.0\n'


@pytest.mark.parametrize("version", ["1", "1.0.0", "1.1", "2.0.0", " 2.0.0 ", "10.0.0"])
@pytest.mark.parametrize("before", ["", "application/json,", "text/html;version=2.0.0,"])
def test_a_newer_openmetrics_is_answered_with_the_one_that_is_written(
    leg: Leg, version: str, before: str
) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    accept = f"{before}application/openmetrics-text;version={version};q=0.9,text/plain;q=0.5"
    reply = leg.get(app, "/metrics", headers={"Accept": accept})
    written = metrics.generate_metrics("application/openmetrics-text;version=1.0.0")
    assert (reply.text, reply.headers["Content-Type"]) == written
    assert written[1].startswith("application/openmetrics-text; version=")
