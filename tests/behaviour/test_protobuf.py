"""The protobuf format: every byte is what Google's runtime writes of the same samples."""

from __future__ import annotations

import gc
import gzip
import weakref
from typing import Any

import hypothesis.strategies as st
import prometheus_client
import pytest
from hypothesis import example, given
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client import exposition as client
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.samples import Exemplar, Timestamp

from promweb import PrometheusMetrics
from promweb.core.exposition.scrape import render
from promweb.core.families.family import Family
from promweb.core.families.kinds import CounterFamily, DerivedCounterFamily, HistogramFamily
from tests.behaviour.test_rendering import FAMILIES, encodable, label_names, numbers, record, text
from tests.support.legs import Leg
from tests.support.protobuf import (
    ACCEPT,
    CONTENT_TYPE,
    EXACT,
    delimited,
    families,
    message_of,
    series_of_protobuf,
    series_of_samples,
)

needs_escaping = pytest.mark.skipif(
    not hasattr(client, "CONTENT_TYPE_PLAIN_1_0_0"), reason="prometheus_client is too old"
)


def body_of(registry: CollectorRegistry, accept: str = ACCEPT) -> bytes:
    body, content_type = render(registry, accept)
    assert content_type.startswith(CONTENT_TYPE)
    return body


class Once:
    """A collector of these metrics."""

    def __init__(self, *metrics: Metric) -> None:
        self.metrics = metrics

    def collect(self) -> Any:
        return self.metrics


def registry_of(*metrics: Metric) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Once(*metrics))  # type: ignore[arg-type]
    return registry


def assert_same_series(registry: CollectorRegistry) -> bytes:
    body = body_of(registry)
    assert series_of_protobuf(body) == series_of_samples(registry.collect())
    return body


# --- bytes --------------------------------------------------------------------------------------


@pytest.mark.skipif(not EXACT, reason="protobuf in Python alone has one NaN")
@given(
    st.lists(
        st.tuples(
            st.sampled_from(FAMILIES),
            st.text("abc_:", min_size=1, max_size=5),
            st.sampled_from(["", "seconds"]),
            encodable,
            label_names,
            st.lists(
                st.tuples(
                    st.lists(text, min_size=4, max_size=4),
                    st.lists(numbers),
                    st.none() | st.dictionaries(st.sampled_from(["trace_id", "a"]), encodable),
                )
            ),
        ),
        max_size=4,
    )
)
def test_any_family_any_label_any_number(definitions: list[Any]) -> None:
    registry = CollectorRegistry()
    for index, (family_class, name, unit, help_text, names, rows) in enumerate(definitions):
        family = family_class(f"f{index}_{name}", help_text, names, unit=unit)
        registry.register(family)
        for values, amounts, exemplar in rows:
            child = family.child(tuple(values[: len(names)]))
            for amount in amounts:
                record(family, child, amount)
                if exemplar is not None:
                    child.exemplify(exemplar, amount)
    metrics = [metric for metric in registry.collect() if metric.samples]
    wanted = b"".join(delimited(message_of(metric)) for metric in metrics)
    for _ in range(2):  # the first scrape makes the layouts
        assert body_of(registry) == wanted
    families(wanted)


@given(st.lists(st.integers(0, 2**50), min_size=15, max_size=15), numbers)
@example([999, 1, 0, 0, 999_000, 0, 1, *[0] * 8], 1.0)
def test_any_counts(buckets: list[int], total: float) -> None:
    registry = CollectorRegistry()
    family = HistogramFamily("h", "d")
    registry.register(family)
    family.children[()]._buckets, family.children[()]._sum = buckets, total
    assert body_of(registry) == delimited(message_of(next(iter(registry.collect()))))


@given(text.filter(lambda value: "\ud800" not in value), numbers, st.floats(0, 2e9))
def test_metrics_of_prometheus_client(value: str, number: float, at: float) -> None:
    counter = CounterMetricFamily("c_total", value, labels=["z", "a"])
    exemplar = Exemplar({"trace_id": value}, number, at)
    counter.add_metric(["x", value], number, created=at)
    counter.samples[0] = counter.samples[0]._replace(exemplar=exemplar)
    gauge = GaugeMetricFamily("g_seconds", "d", labels=["a"], unit="seconds")
    gauge.add_metric([value], number)
    histogram = HistogramMetricFamily("h", "d", labels=["a"])
    bare = Exemplar({"trace_id": value}, number)
    buckets: Any = [("0.5", 1, bare), ("2.0", 3, exemplar), ("+Inf", 3, None)]
    histogram.add_metric([value], buckets, number)
    summary = SummaryMetricFamily("s", "d", labels=["a"])
    summary.add_metric([value], 3, number)
    unknown = UnknownMetricFamily("u", "d", number)
    metrics = [counter, gauge, histogram, summary, unknown]
    wanted = b"".join(delimited(message_of(metric)) for metric in metrics)
    assert body_of(registry_of(*metrics)) == wanted
    families(wanted)


def test_gauges_that_have_a_time() -> None:
    family = GaugeMetricFamily("g", "d", labels=["a"])
    family.add_metric(["x"], 1.5, timestamp=Timestamp(123, 456_000_000))
    family.add_metric(["x"], 1.25, timestamp=-0.5)
    histogram = HistogramMetricFamily("h", "d")
    histogram.add_metric([], [("1.0", 2), ("+Inf", 2)], 1.5, timestamp=7)
    body = assert_same_series(registry_of(family, histogram))
    assert ("g", (("a", "x"),), 123456) in series_of_protobuf(body)
    assert ("h_count", (), 7000) in series_of_protobuf(body)


# --- series -------------------------------------------------------------------------------------


def test_every_kind_has_the_series_of_text() -> None:
    registry = CollectorRegistry()
    Counter("own_counter", "Own.", ["a"], registry=registry).labels("x").inc(0.1, {"t": "1"})
    Gauge("own_gauge", "Own.", registry=registry).set(float("-inf"))
    Histogram("own_histogram", "Own.", registry=registry).observe(3)
    Summary("own_summary", "Own.", registry=registry).observe(3)
    Info("own", "Own.", registry=registry).info({"version": "1"})
    Enum("own_enum", "Own.", states=["a", "b"], registry=registry).state("b")
    quantiles = Metric("q", "d", "summary")
    quantiles.add_sample("q", {"quantile": "0.5"}, 1)
    quantiles.add_sample("q_count", {}, 2)
    quantiles.add_sample("q_sum", {}, 3)
    registry.register(Once(quantiles))  # type: ignore[arg-type]
    registry.register(HistogramFamily("h", "d"))
    kinds = {family.name: family.type for family in families(assert_same_series(registry))}
    assert kinds == {
        "own_counter_total": 0,
        "own_gauge": 1,
        "own_histogram": 4,
        "own_summary": 2,
        "own_info": 1,
        "own_enum": 1,
        "q": 2,
        "h": 4,
    }


def test_a_gauge_histogram_keeps_its_own_names() -> None:
    family = GaugeHistogramMetricFamily("g", "d", labels=["a"])
    family.add_metric(["x"], [("1.0", 2), ("+Inf", 3)], 7)
    body = body_of(registry_of(family))
    written, text = series_of_protobuf(body), series_of_samples([family])
    assert [one.type for one in families(body)] == [5, 1, 1]
    labels = (("a", "x"),)
    assert written == {**text, ("g_count", labels, None): "3.0", ("g_sum", labels, None): "7.0"}


ODD: dict[str, list[tuple[str, dict[str, str], float]]] = {
    "no sum": [("_bucket", {"le": "1.0"}, 1), ("_bucket", {"le": "+Inf"}, 1), ("_count", {}, 1)],
    "no count": [("_bucket", {"le": "+Inf"}, 1), ("_sum", {}, 1)],
    "no +Inf": [("_bucket", {"le": "1.0"}, 1), ("_count", {}, 1), ("_sum", {}, 1)],
    "a bound as nobody writes it": [
        ("_bucket", {"le": "1"}, 1),
        ("_bucket", {"le": "+Inf"}, 1),
        ("_count", {}, 1),
        ("_sum", {}, 1),
    ],
    "a bound that is no number": [("_bucket", {"le": "x"}, 1), ("_count", {}, 1), ("_sum", {}, 1)],
    "half an observation": [("_bucket", {"le": "+Inf"}, 0.5), ("_count", {}, 0.5), ("_sum", {}, 1)],
    "no number": [("_bucket", {"le": "+Inf"}, float("nan")), ("_count", {}, 1), ("_sum", {}, 1)],
    "less than none": [("_bucket", {"le": "+Inf"}, -1), ("_count", {}, -1), ("_sum", {}, 1)],
    "another name": [
        ("_bucket", {"le": "+Inf"}, 1),
        ("_count", {}, 1),
        ("_sum", {}, 1),
        ("_max", {}, 1),
    ],
    "nothing": [],
}


@pytest.mark.parametrize("samples", ODD.values(), ids=ODD)
@pytest.mark.parametrize("kind", ["histogram", "summary", "counter", "gauge", "unknown"])
def test_odd_samples_have_the_series_of_text(kind: str, samples: list[Any]) -> None:
    metric = Metric("h", "d", kind)
    for suffix, labels, value in samples:
        metric.add_sample(f"h{suffix}", labels, value)
    assert_same_series(registry_of(metric))


@pytest.mark.parametrize("again", ["_count", "_bucket"])
def test_a_sample_that_is_there_twice_is_written_twice_as_in_text(again: str) -> None:
    metric = Metric("h", "d", "histogram")
    labels = {"le": "+Inf"} if again == "_bucket" else {}
    for suffix, more, value in [*ODD["another name"][:3], (again, labels, 2)]:
        metric.add_sample(f"h{suffix}", more, value)
    written = {one.name: len(one.metric) for one in families(body_of(registry_of(metric)))}
    assert written == {"h_bucket": 1, "h_count": 1, "h_sum": 1, f"h{again}": 2}


def test_a_histogram_whose_sum_is_not_shown_has_the_series_of_text() -> None:
    registry = CollectorRegistry()
    family = HistogramFamily("h", "d", buckets=[-1.0, 1.0])
    registry.register(family)
    family.child(()).observe(0.5)
    assert [one.name for one in families(assert_same_series(registry))] == ["h_bucket", "h_count"]


def test_a_derived_counter_has_its_newest_exemplar() -> None:
    registry = CollectorRegistry()
    source = HistogramFamily("h", "d", ("method", "path"))
    registry.register(source)
    registry.register(DerivedCounterFamily("requests_total", "d", source, "path"))
    for path in ("/a", "/b"):
        source.child(("GET", path)).observe(0.25)
        source.child(("GET", path)).exemplify({"trace_id": path}, 0.25)
    total = families(assert_same_series(registry))[1].metric[0].counter
    assert total.value == 2
    assert {pair.name: pair.value for pair in total.exemplar.label} == {"trace_id": "/b"}
    assert total.HasField("created_timestamp")


def test_a_unit_that_the_name_does_not_end_with_is_left_out() -> None:
    registry = CollectorRegistry()
    for family_class in FAMILIES:
        registry.register(family_class(f"{family_class.__name__}_seconds", "d", unit="seconds"))
    units = {one.type: one.unit for one in families(body_of(registry))}
    assert units == {0: "", 1: "seconds", 4: "seconds", 2: "seconds"}


@needs_escaping
@pytest.mark.parametrize(
    ("escaping", "metric", "label"),
    [
        ("", "http_requests_total", "http_method"),
        ("underscores", "http_requests_total", "http_method"),
        ("allow-utf-8", "http.requests_total", "http.method"),
        ("dots", "http_dot_requests__total", "http_dot_method"),
        ("values", "U__http_2e_requests__total", "U__http_2e_method"),
    ],
)
def test_names_that_need_escaping(escaping: str, metric: str, label: str) -> None:
    registry = CollectorRegistry()
    ours = CounterFamily("http.requests", "d", ("http.method",))
    registry.register(ours)
    ours.child(("GET",)).inc()
    Counter("own.http.requests", "d", ["http.method"], registry=registry).labels("GET").inc()
    accept = ACCEPT.partition(",")[0] + (escaping and f";escaping={escaping}")
    body, content_type = render(registry, accept)
    assert content_type == CONTENT_TYPE + (escaping and f"; escaping={escaping}")
    first, second = families(body)
    own = {
        "allow-utf-8": "own.http.requests_total",
        "dots": "own_dot_http_dot_requests__total",
        "values": "U__own_2e_http_2e_requests__total",
    }
    assert first.name == metric
    assert second.name == own.get(escaping, "own_http_requests_total")
    assert [pair.name for one in (first, second) for pair in one.metric[0].label] == [label, label]


@needs_escaping
def test_one_registry_for_servers_that_know_different_names() -> None:
    registry = CollectorRegistry()
    family = CounterFamily("http.requests", "d", ("http.method",))
    registry.register(family)
    family.child(("GET",)).inc()
    new = ACCEPT.partition(",")[0] + ";escaping=allow-utf-8"
    for accept, name in [(new, "http.method"), (ACCEPT, "http_method")] * 2:
        (written,) = families(render(registry, accept)[0])
        assert written.metric[0].label[0].name == name


# --- negotiation --------------------------------------------------------------------------------

_PROTOBUF = ACCEPT.partition(",")[0]


@pytest.mark.parametrize(
    ("accept", "is_protobuf"),
    [
        (ACCEPT, True),
        (_PROTOBUF, True),
        (_PROTOBUF.upper().replace("PROTO=IO.PROMETHEUS.CLIENT.METRICFAMILY", "proto=x"), False),
        (f"{_PROTOBUF};q=0.7,text/plain;version=0.0.4;q=0.3", True),  # Telegraf
        (f"{_PROTOBUF};q=0.3,text/plain;version=0.0.4;q=0.7", False),
        (f"{_PROTOBUF};q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1", True),
        (f"text/plain;q=0.3,*/*;q=0.1,{_PROTOBUF};q=0.5", True),
        (f"{_PROTOBUF},text/plain", False),
        (f"{_PROTOBUF},*/*", False),
        (f"{_PROTOBUF};q=0", False),
        (f"{_PROTOBUF};q=2", False),
        (f"{_PROTOBUF};q=0.9,application/json", True),
        ("application/vnd.google.protobuf", False),
        (_PROTOBUF.replace("delimited", "text"), False),
        (_PROTOBUF.replace("encoding=delimited", "encoding=compact-text"), False),
        (_PROTOBUF.replace("MetricFamily", "Metric"), False),
        (_PROTOBUF.replace("=delimited", '="delimited"').replace(";", " ; "), True),
        (f"{_PROTOBUF};escaping=nonsense", False),
        ("application/openmetrics-text;version=1.0.0;q=0.6", False),
        (ACCEPT + ",a/b" * 2000, False),
        ("", False),
    ],
)
def test_protobuf_only_where_it_beats_text(leg: Leg, accept: str, is_protobuf: bool) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    reply = leg.get(app, "/metrics", headers={"Accept": accept})
    assert (reply.headers["Content-Type"] == CONTENT_TYPE) is is_protobuf
    assert reply.headers["Vary"] == "Accept, Accept-Encoding"
    if is_protobuf:
        assert series_of_protobuf(reply.data) == series_of_samples(leg.registry.collect())


def test_a_scrape_of_an_application(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, default_labels={"tier": "é☃"}, exemplar=lambda: {"trace_id": "1"})

    @app.route("/items/<name>")
    @leg.view
    def item(name: str) -> str:
        leg.clock.advance(0.25)
        return name

    leg.get(app, "/items/tea")
    headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip"}
    reply = leg.get(app, "/metrics", headers=headers)
    assert reply.headers["Content-Encoding"] == "gzip"
    body = gzip.decompress(reply.data)
    assert series_of_protobuf(body) == series_of_samples(leg.registry.collect())
    found = {family.name: family for family in families(body)}
    duration = found["flask_http_request_duration_seconds"].metric[0].histogram
    assert (duration.sample_count, duration.sample_sum) == (1, 0.25)
    assert duration.HasField("created_timestamp")
    exemplars = [one.exemplar for one in duration.bucket if one.HasField("exemplar")]
    assert [(one.value, one.HasField("timestamp")) for one in exemplars] == [(0.25, True)]
    head = leg.request(app, "/metrics", "HEAD", headers=headers)
    assert (head.status, head.headers["Content-Type"]) == (200, CONTENT_TYPE)


def test_a_request_with_names_gets_text(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    query = "?name[]=flask_exporter_info"
    reply = leg.get(app, f"/metrics{query}", headers={"Accept": ACCEPT})
    assert reply.headers["Content-Type"].startswith("application/openmetrics-text; version=")
    assert reply.text.count("\n") == 4


def test_generate_metrics_is_text_in_any_case() -> None:
    metrics = PrometheusMetrics.for_app_factory(registry=CollectorRegistry())
    Gauge("g", "d", registry=metrics.registry)
    text, content_type = metrics.generate_metrics(ACCEPT)
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_a_collector_that_fails_is_named(leg: Leg, caplog: pytest.LogCaptureFixture) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    broken = Metric("broken", "d", "gauge")
    broken.add_sample("broken", {"a": "\ud800"}, 1)
    leg.registry.register(Once(broken))  # type: ignore[arg-type]
    reply = leg.get(app, "/metrics", headers={"Accept": ACCEPT})
    assert reply.status == 500
    assert reply.text.startswith("The collector of the metric broken failed: UnicodeEncodeError")
    assert "broken failed" in caplog.text


def test_times_of_creation_do_not_depend_on_the_switch_for_their_series() -> None:
    """They cost no series in protobuf."""
    registry = CollectorRegistry()
    registry.register(CounterFamily("c", "d"))
    disable = getattr(prometheus_client, "disable_created_metrics", None)
    if disable is None:
        pytest.skip("prometheus_client is too old")
    disable()
    try:
        assert families(body_of(registry))[0].metric[0].counter.HasField("created_timestamp")
    finally:
        prometheus_client.enable_created_metrics()


def test_a_family_that_nobody_needs_goes_with_its_layouts() -> None:
    registry = CollectorRegistry()
    family: Family[Any] = CounterFamily("c", "d")
    registry.register(family)
    body_of(registry)
    gone = weakref.ref(family)
    del registry, family
    gc.collect()
    assert gone() is None


def test_a_scrape_pauses_between_label_sets() -> None:
    registry = CollectorRegistry()
    family = CounterFamily("c", "d", ("a",))
    registry.register(family)
    for value in range(500):
        family.child((str(value),))
    pauses: list[None] = []
    render(registry, ACCEPT, None, lambda: pauses.append(None))
    assert len(pauses) > 500 // 64
