"""Help for testing your own metrics: an isolated registry, changes, snapshots.

Works with any test runner; for pytest there is the fixture `metrics_registry` as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from types import TracebackType
from typing import NamedTuple

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from .adapters.insight.guard import LoopFree
from .core.families.family import FamilyMetric
from .core.families.problems import strictly
from .core.native.buckets import Buckets

__all__ = [
    "LoopFree",
    "MetricDelta",
    "NativeHistogram",
    "assert_loop_free",
    "assert_metric_delta",
    "isolated_registry",
    "native_histogram",
    "snapshot",
]

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_NOISE = re.compile(r"^(process|python)_|_(bucket|info)$")
"""Samples that say nothing about a test."""
_LISTED = 10
"""How many samples a message lists under one heading."""


@contextmanager
def isolated_registry() -> Iterator[CollectorRegistry]:
    """Replace `prometheus_client.REGISTRY` by an empty registry, and return that.

    Metrics objects that are made meanwhile without `registry=` use it, so an application factory
    defines its metrics again. Earlier objects keep their registry, and prometheus_client's own
    metrics go to the registry that was there when it was imported.

    Meanwhile wrong calls of instruments, which a service only logs, raise ValueError or TypeError.

        with isolated_registry() as registry:
            client = create_app().test_client()
    """
    registry = CollectorRegistry(auto_describe=True)  # as the global one
    replaced = prometheus_client.REGISTRY
    prometheus_client.REGISTRY = registry
    try:
        with strictly():
            yield registry
    finally:
        prometheus_client.REGISTRY = replaced


def snapshot(
    registry: CollectorRegistry | None = None,
    *,
    names: Collection[str] | None = None,
    timings: bool = True,
) -> dict[str, float]:
    """Return the samples of a registry as a dictionary, such as `{'visits_total{page="/"}': 2.0}`.

    Labels are sorted by name; `_created` samples are omitted. `registry` is
    `prometheus_client.REGISTRY` unless given; `names` selects families or samples.
    `timings=False` omits numbers that depend on the clock: of families in seconds, and of
    histograms and summaries that are not in bytes, only the counts stay. Raises TypeError if
    `names` is one text.

        assert snapshot(names=["orders"]) == {'orders_total{kind="gift"}': 2.0}
    """
    if isinstance(names, str):
        raise TypeError(f"names={names!r}: must be a list of names; write names=[{names!r}]")
    found: dict[str, float] = {}
    for metric in _current(registry).collect():
        only_counts = not timings and depends_on_the_clock(metric.name, metric.type)
        for series, value in _samples([metric]).items():
            if only_counts and not series.name.endswith("_count"):
                continue
            if names is None or metric.name in names or series.name in names:
                found[str(series)] = value
    return found


def assert_metric_delta(
    name: str, /, *, by: object = 1, registry: CollectorRegistry | None = None, **labels: object
) -> MetricDelta:
    """Return a context manager, for `with` and `async with`, that asserts a change inside of it.

    `name` is the name of samples, such as `visits_total` or `work_seconds_count`. It adds up all
    samples that have the given labels, whatever other labels they have; a missing sample counts
    as 0. Label values are compared as text: `status=200` is fine. `by` is a number, or an object
    that compares equal to one, such as `pytest.approx(0.5)`. `registry` is
    `prometheus_client.REGISTRY` unless given, looked up on entry.

    Raises `AssertionError` that lists what changed instead, and `ValueError` for a label that no
    sample of the name has. An exception of the body passes through, and nothing is asserted.

        with assert_metric_delta("orders_total", by=2, kind="gift"):
            client.post("/orders?kind=gift&amount=2")
    """
    return MetricDelta(name, by, registry, {key: str(value) for key, value in labels.items()})


class NativeHistogram:
    """The result of `native_histogram`: the observations until then.

    For example:

        assert native_histogram("work_seconds").sum < 60
    """

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    @property
    def count(self) -> int:
        """How many observations there were."""
        return self._buckets.count

    @property
    def sum(self) -> float:
        """The sum of the observations, in their unit."""
        return self._buckets.sum

    def quantile(self, q: float) -> float:
        """Estimate a quantile between 0 and 1, at most a bucket's width off.

        The estimate is that of `histogram_quantile` in Prometheus 3; NaN without observations.
        Raises ValueError if `q` is not between 0 and 1.

            assert native_histogram("work_seconds").quantile(0.99) < 2
        """
        if not 0 <= q <= 1:
            raise ValueError(f"q={q!r}: must be between 0 and 1, as in 0.99")
        return self._buckets.quantile(q)

    def __repr__(self) -> str:
        return f"NativeHistogram(count={self.count}, sum={self.sum})"


def native_histogram(
    name: str, /, *, registry: CollectorRegistry | None = None, **labels: object
) -> NativeHistogram:
    """Return the present native buckets of a histogram.

    It adds up all label sets that have the given labels. Label values are compared as text.
    `registry` is `prometheus_client.REGISTRY` unless given.

        assert native_histogram("work_seconds", queue="mail").quantile(0.5) < 0.1

    Raises LookupError if no histogram of that name has native buckets and these labels: it needs
    `native_histograms=True`.

    """
    wanted = {key: str(value) for key, value in labels.items()}
    found, names = [], set()
    for metric in _current(registry).collect():
        if not isinstance(metric, FamilyMetric) or metric.native is None:
            continue
        names.add(metric.name)
        for values, child in metric.label_sets() if metric.name == name else ():
            pairs = dict(zip(metric.family.labelnames, values, strict=True))
            native = metric.native(values, child)
            if native is not None and pairs.items() >= wanted.items():
                found.append(native[1])
    if not found:
        given = _Series(name, frozenset(wanted.items()))
        lines = [f"{given}: no histogram with native buckets has that name and these labels"]
        raise LookupError("\n".join(lines + _listing("There are:", sorted(names))))
    return NativeHistogram(Buckets.merged(found))


def assert_loop_free(most: float = 0.05) -> LoopFree:
    """Return a context manager, for `with` and `async with`, that asserts that nothing blocks.

    Use it in a coroutine: what runs in its event loop meanwhile, a view for example, may hold the
    loop for at most `most` seconds without a break. Works on asyncio, uvloop and trio, with any
    application.

        async with assert_loop_free():
            await client.get("/orders")

    Raises AssertionError that names each place that held the loop longer; a fifth of `most` longer
    is always found, and a machine that is too busy looks like a block. Raises RuntimeError without
    a running event loop, and ValueError unless `most` is above 0. An exception of the body passes
    through, with nothing asserted.
    """
    return LoopFree(most)


class MetricDelta:
    """The context manager that `assert_metric_delta` returns.

    For example:

        with assert_metric_delta("orders_total"):
            client.post("/orders")
    """

    def __init__(
        self, name: str, by: object, registry: CollectorRegistry | None, labels: dict[str, str]
    ) -> None:
        self._wanted = _Series(name, frozenset(labels.items()))
        self._by = by
        self._given_registry = registry

    def __enter__(self) -> None:
        self._registry = _current(self._given_registry)
        self._before = _samples(self._registry.collect())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        __tracebackhide__ = True  # pytest shows the line of the test
        if error is None:
            self._check(_samples(self._registry.collect()))

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        __tracebackhide__ = True
        self.__exit__(kind, error, traceback)

    def _check(self, after: dict[_Series, float]) -> None:
        __tracebackhide__ = True
        wanted = self._wanted
        there = [series for series in after if series.name == wanted.name]
        unknown = wanted.label_names.difference(*(series.label_names for series in there))
        if there and unknown:
            raise ValueError(
                f"{wanted}: no sample of that name has the label {sorted(unknown)[0]!r}; it has "
                f"{sorted(set().union(*(series.label_names for series in there)))}"
            )
        old, new = _total(self._before, wanted), _total(after, wanted)
        if new - old != self._by:
            by = _number(self._by) if isinstance(self._by, (int, float)) else repr(self._by)
            lines = [f"{wanted} should have changed by {by}, but changed {_change(old, new)}"]
            raise AssertionError("\n".join(lines + _explain(wanted, self._before, after)))


class _Series(NamedTuple):
    """Identifies a sample; its text is that of the exposition, labels sorted by name."""

    name: str
    labels: frozenset[tuple[str, str]]

    @property
    def label_names(self) -> set[str]:
        return {name for name, _ in self.labels}

    def __str__(self) -> str:
        pairs = (f'{name}="{value.translate(_ESCAPES)}"' for name, value in sorted(self.labels))
        return f"{self.name}{{{','.join(pairs)}}}" if self.labels else self.name


def _current(registry: CollectorRegistry | None) -> CollectorRegistry:
    return prometheus_client.REGISTRY if registry is None else registry


def _samples(metrics: Iterable[Metric]) -> dict[_Series, float]:
    """Return all samples except those with the times when others were created."""
    return {
        _Series(sample.name, frozenset(sample.labels.items())): sample.value
        for metric in metrics
        for sample in metric.samples
        if sample.name != f"{metric.name}_created"
    }


def depends_on_the_clock(name: str, kind: str) -> bool:
    """Tell whether the numbers of a family, counts aside, are times."""
    if kind in ("histogram", "summary"):
        return not name.endswith("_bytes")  # promweb's other unit
    return name.endswith("_seconds")


def _total(samples: dict[_Series, float], wanted: _Series) -> float:
    return sum(
        value
        for series, value in samples.items()
        if series.name == wanted.name and series.labels >= wanted.labels
    )


def _explain(
    wanted: _Series, before: dict[_Series, float], after: dict[_Series, float]
) -> list[str]:
    """Describe what changed instead and which samples exist, the nearest label sets first."""
    lines: list[str] = []
    ours = [series for series in {**after, **before} if series.name == wanted.name]
    ours.sort(key=lambda series: (len(wanted.labels - series.labels), str(series)))
    changes = {
        series: f"{series} changed {_change(before.get(series, 0.0), after.get(series, 0.0))}"
        for series in {**after, **before}
        if before.get(series, 0.0) != after.get(series, 0.0)
    }
    changed = [changes[series] for series in ours if series in changes]
    if not ours:
        names = sorted({series.name for series in after})
        lines.append(
            "The registry has no sample of that name. If the metrics object has another registry, "
            "pass registry=metrics.registry."
        )
        lines += _listing("It has:", get_close_matches(wanted.name, names) or names)
    lines += _listing("Of that name:", changed)
    same = [f"{series} is {_number(after[series])}" for series in ours if series not in changes]
    lines += _listing("Unchanged:", same)
    if not changed:
        others = [text for series, text in changes.items() if not _NOISE.search(series.name)]
        lines += _listing("Of other names:", sorted(others))
    return lines


def _listing(heading: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    lines = [heading, *(f"  {item}" for item in items[:_LISTED])]
    return lines if len(items) <= _LISTED else [*lines, f"  and {len(items) - _LISTED} more"]


def _change(old: float, new: float) -> str:
    return f"by {_number(new - old)} (from {_number(old)} to {_number(new)})"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)
