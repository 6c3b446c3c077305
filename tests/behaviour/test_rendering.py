"""Bodies equal those of prometheus_client's encoders, byte for byte."""

from __future__ import annotations

import gc
import weakref
from itertools import accumulate
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.samples import Exemplar, Timestamp
from prometheus_client.utils import floatToGoString

from promweb.core.exposition.scrape import render
from promweb.core.families.children import PENDING_LIMIT
from promweb.core.families.family import Family, FamilyMetric
from promweb.core.families.kinds import (
    CounterFamily,
    DerivedCounterFamily,
    GaugeFamily,
    HistogramFamily,
    SummaryFamily,
)
from promweb.core.families.numbers import texts_of_counts

ACCEPTS = [
    "",
    "text/plain;version=1.0.0;escaping=allow-utf-8",
    "text/plain;version=1.0.0;escaping=dots",
    "application/openmetrics-text;version=1.0.0",
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
    "application/openmetrics-text;version=1.0.0;escaping=values",
    "application/openmetrics-text;version=0.0.1",
]
FAMILIES: list[type[Family[Any]]] = [CounterFamily, GaugeFamily, HistogramFamily, SummaryFamily]

label_names = st.lists(
    st.sampled_from(["method", "path", "a", "kind", "lf", "zone", "_x", "Z", "le_", "l"]),
    unique=True,
    max_size=4,
)
text = st.text(max_size=12) | st.sampled_from(
    ['"', "\\", "\n", "\r\n", "\n\n", "%", "%s", "%%", "{}", "é☃", "\x00", "\ud800", 'a"b\\\n%d']
)
encodable = text.filter(lambda value: "\ud800" not in value)
numbers = st.floats(width=64) | st.sampled_from(
    [float("nan"), float("inf"), -0.0, 1e-9, 0.1, 999999.0, 1e6, 1234567.5, 1e16, 5e-324, 1e300]
)


def assert_same(registry: CollectorRegistry, names: list[str] | None = None) -> None:
    """Compare every format with what prometheus_client writes of the same registry."""
    for accept in ACCEPTS:
        encode, content_type = choose_encoder(accept)
        source: Any = registry.restricted_registry(names) if names else registry
        for _ in range(2):  # the first scrape makes the templates
            assert render(registry, accept, names) == (encode(source), content_type)


def record(family: Family[Any], child: Any, amount: float) -> None:
    if hasattr(child, "observe"):
        child.observe(amount)
    else:
        child.inc(abs(amount) if isinstance(family, CounterFamily) else amount)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(FAMILIES),
            st.text("abc_:", min_size=1, max_size=5),
            st.text(max_size=20),
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
    for index, (family_class, name, help_text, names, rows) in enumerate(definitions):
        family = family_class(f"f{index}_{name}", help_text, names)
        registry.register(family)
        for values, amounts, exemplar in rows:
            child = family.child(tuple(values[: len(names)]))
            for amount in amounts:
                record(family, child, amount)
                if exemplar is not None:
                    child.exemplify(exemplar, amount)
    assert_same(registry)


@given(st.lists(st.floats(), min_size=1, max_size=6, unique=True).map(sorted))
@example([-1.0, 0.5])
@example([0.0])
def test_any_buckets(buckets: list[float]) -> None:
    registry = CollectorRegistry()
    try:
        Histogram("reference", "d", registry=None, buckets=buckets)
    except ValueError:
        return
    family = HistogramFamily("h", "d", ("kind",), buckets=buckets)
    registry.register(family)
    for amount in (0.0, 0.25, *range(PENDING_LIMIT)):
        family.child(("a",)).observe(amount)
    assert_same(registry)


@given(st.lists(st.integers(0, 2**53) | numbers, min_size=1, max_size=9))
@example([999, 1, 0, 0, 999_000, 0, 1])
@example([-1.0, 0.0])
def test_any_counts(buckets: list[float]) -> None:
    """Those of workers' files are read from the files, and may be anything."""
    counts = [*accumulate(buckets, initial=0.0)][1:]  # as prometheus_client adds them up
    assert texts_of_counts(buckets) == [floatToGoString(count) for count in counts]


@pytest.mark.parametrize("family_class", FAMILIES)
@pytest.mark.parametrize("names", [(), ("a", "z"), ("a",), ("z",)])
def test_restricted_to_names(family_class: type[Family[Any]], names: tuple[str, ...]) -> None:
    registry = CollectorRegistry()
    family = family_class("f_seconds", "d", names, unit="seconds")
    registry.register(family)
    record(family, family.child(("v",) * len(names)), 3.0)
    for suffix in ("_total", "_bucket", "_count", "_sum", "_created", "_other"):
        assert_same(registry, [f"f_seconds{suffix}"])
    assert_same(registry, ["f_seconds", "f_seconds_sum", "f_seconds_total"])
    # prometheus_client finds nothing by the name of a family, unless a sample has it.
    names_of_samples = [f"f_seconds{suffix}" for suffix, _ in (*family.shape, ("_created", None))]
    whole = render(registry, None, ["f_seconds"])
    assert whole == render(registry, None, names_of_samples)
    if family_class is GaugeFamily:
        assert_same(registry, ["f_seconds"])
    assert_same(registry, ["f_seconds_sum", "f_seconds_bucket", "nothing"])


def test_derived_counter() -> None:
    registry = CollectorRegistry()
    source = HistogramFamily("h", "d", ("method", "path", "status"))
    registry.register(source)
    registry.register(DerivedCounterFamily("requests_total", "d", source, "path"))
    for values in [("GET", "/a", "200"), ("GET", "/b", "200"), ("PUT", "/a", "500")]:
        source.child(values).observe(0.25)
    assert_same(registry)
    assert_same(registry, ["requests_total"])
    assert registry.get_sample_value("requests_total", {"method": "GET", "status": "200"}) == 2


def test_beside_metrics_of_others() -> None:
    """Exemplars, timestamps, names in UTF-8, and collectors that make metrics themselves."""
    registry = CollectorRegistry()

    class Other:
        def collect(self) -> list[Metric]:
            family = GaugeMetricFamily("g", "d", labels=["a"])
            family.add_metric(["x"], 1.5, timestamp=Timestamp(123, 456))
            return [family]

    family = HistogramFamily("h", "d", ("a",))
    registry.register(family)
    family.child(("v",)).observe(0.25)
    registry.register(Other())
    Counter("c", "d", registry=registry).inc(2, {"trace_id": "abc"})
    metric = Gauge("gauge", "d", ["l"], registry=registry)
    metric.labels("x\n").set(7)
    histogram = Histogram("hist", "d", registry=registry)
    histogram.observe(3, {"trace_id": 'a"b'})
    assert Exemplar  # what the two calls above made
    assert_same(registry)


def test_names_that_need_escaping_are_left_to_the_encoder() -> None:
    registry = CollectorRegistry()
    try:
        family = CounterFamily("http.requests", "d", ("http.method",))
    except ValueError:
        pytest.skip("this prometheus_client has no names in UTF-8")
    registry.register(family)
    family.child(("GET",)).inc()
    assert_same(registry)


def test_templates_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout that did not agree would be slow, and right: nothing else would tell."""
    registry = CollectorRegistry()
    for family_class in FAMILIES:
        family = family_class(family_class.__name__, "d", ("a", "z"))
        registry.register(family)
        record(family, family.child(("x", "y")), 1.0)
    expected = {accept: render(registry, accept) for accept in ACCEPTS}

    def fail(self: object) -> Any:
        raise AssertionError("samples were made")

    monkeypatch.setattr(FamilyMetric, "samples", property(fail))
    for accept, answer in expected.items():
        if "dots" not in accept and "values" not in accept:  # these rewrite names
            assert render(registry, accept) == answer


def test_a_family_that_nobody_needs_goes_with_its_layouts() -> None:
    """Layouts are kept beside the families, and must not keep them."""
    registry = CollectorRegistry()
    family = HistogramFamily("h", "d", ("a",))
    registry.register(family)
    family.child(("x",)).observe(1.0)
    for accept in ACCEPTS:
        render(registry, accept)
        render(registry, accept, ["h_count"])
    registry.unregister(family)
    gone = weakref.ref(family)
    del family
    gc.collect()
    assert gone() is None


def test_a_label_set_that_was_cleared_is_written_anew() -> None:
    registry = CollectorRegistry()
    family = CounterFamily("c", "d", ("a",))
    registry.register(family)
    family.child(("x",)).inc()
    render(registry)
    family.clear()
    assert_same(registry)
