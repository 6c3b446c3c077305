"""Parses an exposition: the text format or OpenMetrics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

__all__ = [
    "OPENMETRICS",
    "Exposition",
    "Family",
    "NotAnExposition",
    "ScrapeError",
    "one_line",
    "parse",
]

OPENMETRICS = "application/openmetrics-text"
"""OpenMetrics' content type, without parameters."""

_LONGEST = 200
"""How many characters of an error to keep."""

_COUNTER = re.compile(r"^#[ \t]+TYPE[ \t]+(\S+)[ \t]+counter[ \t]*$", re.MULTILINE)


class ScrapeError(Exception):
    """A URL could not be read, or its answer was not the expected one.

    The text may quote the server; it is not safe for a terminal.
    """


class NotAnExposition(ScrapeError):
    """There was an answer, but it cannot be parsed."""


@dataclass(frozen=True)
class Family:
    """One family of an exposition: its definition and its samples."""

    kind: str = "unknown"
    help: str = ""
    unit: str = ""
    """The unit; only OpenMetrics has it."""
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Exposition:
    """The parsed answer of a scrape."""

    families: Mapping[str, Family]
    """Families by name; a counter's name is without `_total`. A family may have no sample yet."""
    samples: Mapping[str, list[Sample]] = field(default_factory=dict)
    """Samples by name, such as `..._bucket`."""
    is_openmetrics: bool = False

    @classmethod
    def of(cls, metrics: Iterable[Metric], *, is_openmetrics: bool = False) -> Exposition:
        """Return the exposition of metrics, as the parsers and registries yield them."""
        families: dict[str, Family] = {}
        samples: dict[str, list[Sample]] = {}
        for metric in metrics:
            # A native histogram keeps its buckets elsewhere, and has no value.
            found = tuple(sample for sample in metric.samples if sample.value is not None)
            before = families.get(metric.name)
            families[metric.name] = Family(
                metric.type,
                metric.documentation,
                metric.unit,
                (*before.samples, *found) if before else found,
            )
            for sample in found:
                samples.setdefault(sample.name, []).append(sample)
        return cls(families, samples, is_openmetrics)


def parse(text: str, content_type: str = "") -> Exposition:
    """Parse the text format, or OpenMetrics if the content type says so."""
    is_openmetrics = content_type.partition(";")[0].strip() == OPENMETRICS
    read = openmetrics.text_string_to_metric_families if is_openmetrics else _read
    try:
        metrics: Iterable[Metric] = read(text)
        return Exposition.of(metrics, is_openmetrics=is_openmetrics)
    except Exception as error:  # the parsers raise many undocumented errors
        said = f"the answer is not an exposition of metrics: {one_line(error)}"
        raise NotAnExposition(said) from error


def _read(text: str) -> Iterator[Metric]:
    """Yield the families of the text format, with the samples' names unchanged.

    The parser appends `_total` to the samples of counters without it. It leaves gauges alone, so
    this turns counters into gauges first.
    """
    counters = set(_COUNTER.findall(text))
    for metric in text_string_to_metric_families(_COUNTER.sub(r"# TYPE \1 gauge", text)):
        if metric.name in counters:
            metric.type, metric.name = "counter", metric.name.removesuffix("_total")
        yield metric


def one_line(error: BaseException | str) -> str:
    """Return the last line of an exception's message, or its class."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().split("\n")[0][:_LONGEST] or type(error).__name__
