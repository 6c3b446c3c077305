"""Native histograms: buckets, schemas, their exposition, and the options for them."""

from __future__ import annotations

import math
import random
import struct
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings
from prometheus_client import CollectorRegistry

from promweb import PrometheusMetrics
from promweb.core.exposition.protobuf_native import spans
from promweb.core.exposition.scrape import render
from promweb.core.families.children import PENDING_LIMIT
from promweb.core.families.native import NativeHistogramFamily
from promweb.core.native.buckets import MOST_BUCKETS, Buckets, halved
from promweb.core.native.schemas import (
    MAX_SCHEMA,
    MIN_SCHEMA,
    ZERO_THRESHOLD,
    key_of,
    schema_of,
    table,
    upper_bound,
)
from tests.support.legs import Leg
from tests.support.protobuf import ACCEPT, families
from tests.support.reference_native import Reference, bounds_of, reference_spans

SCHEMAS = range(MIN_SCHEMA, MAX_SCHEMA + 1)

AMOUNTS = [0.0, -0.0, 5e-324, ZERO_THRESHOLD, math.nextafter(ZERO_THRESHOLD, 1), 1e308, 1e-13]
AMOUNTS += [1.0, -1.0, 0.1, 2.0, math.nextafter(2.0, 3), -1e-9, 1e13, math.inf, -math.inf, math.nan]

amounts = st.floats(width=64) | st.sampled_from(AMOUNTS)


def family_of(factor: float = 1.1, **options: Any) -> tuple[CollectorRegistry, Any]:
    registry = CollectorRegistry()
    family = NativeHistogramFamily("h_seconds", "d", factor=factor, **options)
    registry.register(family)
    return registry, family


def scraped(registry: CollectorRegistry) -> Any:
    """Return the histogram that a scrape has."""
    body, _ = render(registry, ACCEPT)
    (family,) = families(body)
    return family.metric[0].histogram


def counts_of(spans: Any, deltas: Any) -> dict[int, int]:
    """Return the counts by key, as a reader of the message makes them."""
    counts, key, number, left = {}, 0, 0, list(deltas)
    for span in spans:
        key += span.offset
        for _ in range(span.length):
            number += left.pop(0)
            if number:
                counts[key] = number
            key += 1
    assert left == []
    return counts


# --- schemas ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "schema"),
    [
        (1e9, -4),
        (65536, -4),
        (4, -1),
        (3, 0),
        (2, 0),
        (1.5, 1),
        (1.2, 2),
        (1.1, 3),
        (1.05, 4),
        (1.02, 6),
        (1.005, 8),
        (1.000001, 8),
    ],
)
def test_a_factor_gives_the_coarsest_schema_that_is_fine_enough(factor: float, schema: int) -> None:
    assert schema_of(factor) == schema
    assert schema in (MIN_SCHEMA, MAX_SCHEMA) or 2 ** (2**-schema) <= factor


def test_bounds_are_those_of_prometheus() -> None:
    """Some of those that Prometheus and its clients have as literals."""
    assert [upper_bound(key, 2) for key in range(-4, 1)] == [
        0.5,
        0.5946035575013605,
        0.7071067811865475,
        0.8408964152537144,
        1.0,
    ]
    assert [upper_bound(key, 8) / 2 for key in (1, 3, 7, 35, 51)] == [
        0.5013556375251013,
        0.5040779490592088,
        0.509566998038869,
        0.549700901315111,
        0.5740382394200894,
    ]
    assert [upper_bound(key, 7) / 2 for key in (125, 126, 127)] == [
        0.9838856116165875,
        0.9892280131939752,
        0.9945994234836328,
    ]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_bound_belongs_to_its_bucket_and_what_follows_does_not(schema: int) -> None:
    bounds, first = table(schema)
    for key in {first, first + 1, first + len(bounds) // 2, first + len(bounds) - 1}:
        bound = upper_bound(key, schema)
        assert bound == bounds[key - first]
        assert key_of(bound, schema) == key
        assert key_of(math.nextafter(bound, math.inf), schema) == key + 1
    last = key_of(1.7976931348623157e308, schema)
    assert upper_bound(last, schema) == 1.7976931348623157e308
    assert (key_of(math.inf, schema), upper_bound(last + 1, schema)) == (last + 1, math.inf)


@given(st.floats(min_value=5e-324, allow_nan=False), st.sampled_from(SCHEMAS))
def test_keys_are_those_of_frexp_and_bisect(number: float, schema: int) -> None:
    assert key_of(number, schema) == Reference.key(number, schema)


# --- counting -----------------------------------------------------------------------------------


def assert_counts_like_the_reference(numbers: Sequence[float], factor: float) -> None:
    registry, family = family_of(factor)
    reference = Reference(schema_of(factor))
    child = family.children[()]
    for start in range(0, len(numbers), PENDING_LIMIT):
        batch = numbers[start : start + PENDING_LIMIT]
        for number in batch:
            child.observe(number)
        child.flush()
        reference.flush(batch)
    histogram = scraped(registry)
    assert histogram.schema == reference.schema
    assert histogram.zero_threshold == ZERO_THRESHOLD
    assert histogram.sample_count == len(numbers)
    assert histogram.zero_count == reference.zero
    assert struct.pack("d", histogram.sample_sum) == struct.pack("d", reference.sum) or (
        math.isclose(histogram.sample_sum, reference.sum, rel_tol=1e-9, abs_tol=1e-9)
        or math.isnan(reference.sum)
    )
    for side, counts in (("positive", reference.positive), ("negative", reference.negative)):
        found_spans = getattr(histogram, f"{side}_span")
        deltas = list(getattr(histogram, f"{side}_delta"))
        assert counts_of(found_spans, deltas) == counts
        assert ([(one.offset, one.length) for one in found_spans], deltas) == (
            reference_spans(counts) if counts else ([], [])
        )
    classic = [bucket.cumulative_count for bucket in histogram.bucket]
    assert classic == bounds_of(numbers, family.bounds)


@given(st.lists(amounts, max_size=120), st.sampled_from([65537, 20, 4, 2, 1.2, 1.1, 1.02, 1.003]))
@settings(max_examples=200)
@example([math.nan], 1.1)
@example([math.inf, -math.inf, 1.0], 1.1)
@example([-1.0, 1.0, 0.0, -2.5], 1.1)
@example([5e-324, -5e-324, ZERO_THRESHOLD], 2)
def test_any_observations_are_counted_as_one_by_one(numbers: list[float], factor: float) -> None:
    assert_counts_like_the_reference(numbers, factor)


FACTORS = {schema: 2.0 ** (2.0**-schema) * (1 + 1e-12) for schema in SCHEMAS}


def draw(generator: random.Random, many: int) -> list[float]:
    """Return usual observations, and some absurd ones."""
    return [
        generator.choice(
            (
                generator.lognormvariate(-3, 1.5),
                generator.expovariate(3),
                generator.uniform(0, 2),
                -generator.lognormvariate(0, 0.5),
                2.0 ** generator.randint(-8, 8),
                0.0,
            )
        )
        for _ in range(many)
    ]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_many_observations_of_each_schema(schema: int) -> None:
    """`python -m tests.support.reference_native` compares 200,000 for each."""
    assert schema_of(FACTORS[schema]) == schema
    assert_counts_like_the_reference(draw(random.Random(schema), 3000), FACTORS[schema])


def test_the_resolution_halves_beyond_the_most_buckets() -> None:
    registry, family = family_of(1.005)
    for power in range(400):
        family.children[()].observe(1.03**power)
    histogram = scraped(registry)
    counts = counts_of(histogram.positive_span, histogram.positive_delta)
    assert histogram.schema < 8
    assert MOST_BUCKETS / 2 < len(counts) <= MOST_BUCKETS
    assert sum(counts.values()) == histogram.sample_count == 400


def test_halving_keeps_each_observation_in_a_bucket_that_has_it() -> None:
    generator = random.Random(1)
    numbers = [*(generator.lognormvariate(0, 3) for _ in range(500)), math.inf]
    for schema in range(MIN_SCHEMA + 1, MAX_SCHEMA + 1):
        fine: dict[int, int] = {}
        coarse: dict[int, int] = {}
        for number in numbers:
            for counts, resolution in ((fine, schema), (coarse, schema - 1)):
                key = key_of(number, resolution)
                counts[key] = counts.get(key, 0) + 1
        assert halved(fine) == coarse


def test_buckets_never_change() -> None:
    """A scrape writes what it has without a lock."""
    _, family = family_of()
    child = family.children[()]
    child.observe(1.0)
    _, first = child.native_snapshot()
    child.observe(1.0)
    _, second = child.native_snapshot()
    assert (first.count, first.positive, second.count, second.positive) == (1, {0: 1}, 2, {0: 2})
    assert child.native_snapshot()[1] is second


def test_buckets_of_several_workers_are_merged_in_the_coarsest_schema() -> None:
    fine = Buckets(3, 3, 6.0, 1, {0: 1, 1: 1}, {5: 1})
    coarse = Buckets(1, 2, 1.0, 0, {1: 2})
    both = Buckets.merged([fine, coarse])
    assert (both.schema, both.count, both.sum, both.zero) == (1, 5, 7.0, 1)
    assert (both.positive, both.negative) == ({0: 1, 1: 3}, {2: 1})
    alone = Buckets.merged([fine])
    assert (alone.schema, alone.positive) == (3, {0: 1, 1: 1})


@given(st.dictionaries(st.integers(-2000, 2000), st.integers(1, 2**40), min_size=1))
def test_spans_are_those_of_client_golang(counts: dict[int, int]) -> None:
    found = spans(counts)
    assert found == reference_spans(counts)


# --- quantiles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99, 0.999])
def test_quantiles_are_near_the_true_ones(q: float) -> None:
    generator = random.Random(7)
    numbers = sorted(generator.lognormvariate(-3, 1) for _ in range(50_000))
    _, family = family_of()
    for number in numbers:
        family.children[()].observe(number)
    _, native = family.children[()].native_snapshot()
    assert native.quantile(q) == pytest.approx(numbers[int(q * len(numbers))], rel=0.02)


def test_quantiles_at_the_edges() -> None:
    assert math.isnan(Buckets(3).quantile(0.5))
    assert Buckets(3, zero=2, count=2).quantile(0.5) == 0.0
    inf = key_of(math.inf, 3)
    assert Buckets(3, 2, math.inf, positive={inf: 2}).quantile(0.5) == 1.7976931348623157e308
    assert Buckets(3, 2, -math.inf, negative={inf: 2}).quantile(0.5) == -1.7976931348623157e308
    both = Buckets(0, 4, 0.0, 2, {1: 1}, {1: 1})
    assert both.quantile(0.0) == -2.0
    assert both.quantile(1.0) == 2.0
    assert abs(both.quantile(0.5)) <= ZERO_THRESHOLD
    assert math.isnan(Buckets(3, 1, math.nan).quantile(0.5))


# --- families -----------------------------------------------------------------------------------


def test_classic_buckets_stay_beside_native_ones() -> None:
    registry, family = family_of(buckets=(0.1, 1))
    for amount in (0.05, 0.5, 5.0, math.nan):
        family.children[()].observe(amount)
    histogram = scraped(registry)
    assert [(one.cumulative_count, one.upper_bound) for one in histogram.bucket] == [
        (1, 0.1),
        (2, 1.0),
        (4, math.inf),
    ]
    assert math.isnan(histogram.sample_sum)
    assert sum(counts_of(histogram.positive_span, histogram.positive_delta).values()) == 3


@pytest.mark.parametrize("buckets", [(), (math.inf,)])
def test_without_classic_buckets_text_has_count_and_sum(buckets: tuple[float, ...]) -> None:
    registry, family = family_of(buckets=buckets)
    family.children[()].observe(0.25)
    assert list(scraped(registry).bucket) == []
    text = render(registry)[0].decode()
    assert 'h_seconds_bucket{le="+Inf"} 1.0\nh_seconds_count 1.0\nh_seconds_sum 0.25\n' in text
    assert text.count("h_seconds_bucket") == 1


def test_a_sum_below_zero_is_written_though_text_has_none() -> None:
    registry, family = family_of(buckets=(-1.0, 1.0))
    family.children[()].observe(-5.0)
    histogram = scraped(registry)
    assert (histogram.sample_sum, histogram.sample_count) == (-5.0, 1)
    assert "h_seconds_sum" not in render(registry)[0].decode()


def test_an_empty_histogram_has_no_spans() -> None:
    registry, _ = family_of()
    histogram = scraped(registry)
    assert (histogram.sample_count, histogram.zero_count, histogram.schema) == (0, 0, 3)
    assert histogram.HasField("zero_threshold")
    assert len(histogram.positive_span) == len(histogram.negative_span) == 0


def test_a_child_that_was_cleared_starts_from_nothing() -> None:
    registry, family = family_of()
    family.children[()].observe(1.0)
    family.clear()
    assert scraped(registry).sample_count == 0


def test_exemplars_are_in_classic_buckets_and_among_the_native_ones() -> None:
    registry, family = family_of(buckets=(0.1, 1))
    child = family.children[()]
    for amount in (0.05, 0.5):
        child.observe(amount)
        child.exemplify({"trace_id": str(amount)}, amount)
    histogram = scraped(registry)
    assert [one.value for one in histogram.exemplars] == [0.05, 0.5]
    assert all(one.HasField("timestamp") for one in histogram.exemplars)
    assert [bucket.HasField("exemplar") for bucket in histogram.bucket] == [True, True, False]


def test_definitions_with_other_native_buckets_are_different() -> None:
    metrics = PrometheusMetrics.for_app_factory(registry=CollectorRegistry())
    metrics.histogram("h", "d", native_histograms=True)
    metrics.histogram("h", "d", native_histograms=1.1)
    for other in (None, 1.5):
        with pytest.raises(ValueError, match="native buckets of schema 3"):
            metrics.histogram("h", "d", native_histograms=other)


# --- options ------------------------------------------------------------------------------------


def histograms(leg: Leg, app: Any) -> dict[str, Any]:
    reply = leg.get(app, "/metrics", headers={"Accept": ACCEPT})
    return {
        family.name: family.metric[0].histogram
        for family in families(reply.data)
        if family.metric[0].HasField("histogram")
    }


def serve(leg: Leg, **options: Any) -> Any:
    app = leg.make_app()
    metrics = leg.make_metrics(
        app, request_size=True, response_size=True, response_start=True, **options
    )

    @app.route("/")
    @metrics.histogram("own_seconds", "Own.", native_histograms=1.5, buckets=())
    @leg.view
    def index() -> str:
        leg.clock.advance(0.25)
        return "x" * 300

    leg.get(app, "/")
    return app


@pytest.mark.parametrize(("value", "schema"), [(True, 3), (1.1, 3), (2, 0), (1.05, 4)])
def test_default_metrics_have_native_buckets_if_asked_for(
    leg: Leg, value: Any, schema: int
) -> None:
    found = histograms(leg, serve(leg, native_histograms=value))
    assert found.pop("own_seconds").schema == 1
    assert len(found) == 4
    for name, histogram in found.items():
        assert (histogram.schema, histogram.sample_count) == (schema, 1), name
        assert len(histogram.bucket) > 1
    duration = found["flask_http_request_duration_seconds"]
    counts = counts_of(duration.positive_span, duration.positive_delta)
    assert counts == {key_of(0.25, schema): 1}


@pytest.mark.parametrize("naming", ["promweb", "otel"])
def test_no_classic_buckets(leg: Leg, naming: str) -> None:
    app = leg.make_app()
    leg.make_metrics(app, naming=naming, buckets=(), native_histograms=True, request_size=True)
    leg.get(app, "/nowhere")
    found = histograms(leg, app)
    assert len(found) == 2
    for histogram in found.values():
        assert (len(histogram.bucket), histogram.schema, histogram.sample_count) == (0, 3, 1)


@pytest.mark.parametrize("value", [None, False])
def test_off_unless_asked_for(leg: Leg, value: Any) -> None:
    found = histograms(leg, serve(leg, native_histograms=value))
    own = found.pop("own_seconds")
    assert own.HasField("schema")
    assert not any(histogram.HasField("schema") for histogram in found.values())


@pytest.mark.parametrize("value", [1, 0.5, -1, math.inf, math.nan])
def test_no_buckets_grow_by_that(value: Any) -> None:
    with pytest.raises(ValueError, match=r"native_histograms=.*must be above 1"):
        PrometheusMetrics.for_app_factory(native_histograms=value)


@pytest.mark.parametrize("value", ["1.1", [1.1], "yes"])
def test_that_is_no_factor(value: Any) -> None:
    metrics = PrometheusMetrics.for_app_factory(registry=CollectorRegistry())
    with pytest.raises(TypeError, match=r"native_histograms=.* of histogram 'h'.*as in 1\.1"):
        metrics.histogram("h", "d", native_histograms=value)


def test_only_native_histograms_may_have_no_buckets() -> None:
    metrics = PrometheusMetrics.for_app_factory(registry=CollectorRegistry())
    for call in (
        lambda: metrics.histogram("h", "d", buckets=()),
        lambda: PrometheusMetrics.for_app_factory(buckets=()),
        lambda: metrics.export_defaults(buckets=()),
    ):
        with pytest.raises(
            ValueError, match="only a histogram with native_histograms may have none"
        ):
            call()


def test_the_argument_can_be_read_back() -> None:
    registry = CollectorRegistry()
    for value in (True, 1.5, False, None):
        metrics = PrometheusMetrics.for_app_factory(registry=registry, native_histograms=value)
        assert metrics.native_histograms is value


def test_bisect_agrees_with_the_table() -> None:
    bounds, first = table(3)
    for number in (0.001, 0.25, 0.3, 1.0, 7.7):
        assert first + bisect_left(bounds, number) == key_of(number, 3)
