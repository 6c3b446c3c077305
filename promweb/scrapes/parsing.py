"""An exposition, parsed: the text format or OpenMetrics."""

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
"""The content type, without its parameters."""

_LONGEST = 200
"""Characters of an error that are kept."""

_COUNTER = re.compile(r"^#[ \t]+TYPE[ \t]+(\S+)[ \t]+counter[ \t]*$", re.MULTILINE)


class ScrapeError(Exception):
    """A URL could not be read, or what it answered is not what was asked for.

    The text may quote the server and is not safe for a terminal.
    """


class NotAnExposition(ScrapeError):
    """There was an answer, and it cannot be parsed."""


@dataclass(frozen=True)
class Family:
    """One family of an exposition, with what says what it is."""

    kind: str = "unknown"
    help: str = ""
    unit: str = ""
    """OpenMetrics alone has it."""
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Exposition:
    """What a scrape brought."""

    families: Mapping[str, Family]
    """By name, that of a counter without `_total`. A family may have no sample yet."""
    samples: Mapping[str, list[Sample]] = field(default_factory=dict)
    """By the sample's name, such as `..._bucket`."""
    is_openmetrics: bool = False

    @classmethod
    def of(cls, metrics: Iterable[Metric], *, is_openmetrics: bool = False) -> Exposition:
        """Return what metrics show; the parsers and registries yield such."""
        families: dict[str, Family] = {}
        samples: dict[str, list[Sample]] = {}
        for metric in metrics:
            # A native histogram has buckets elsewhere, and no value.
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
    """Parse the text format, or OpenMetrics where the content type says so."""
    is_openmetrics = content_type.partition(";")[0].strip() == OPENMETRICS
    read = openmetrics.text_string_to_metric_families if is_openmetrics else _read
    try:
        metrics: Iterable[Metric] = read(text)
        return Exposition.of(metrics, is_openmetrics=is_openmetrics)
    except Exception as error:  # the parsers do not say what they raise, and it is many things
        said = f"the answer is not an exposition of metrics: {one_line(error)}"
        raise NotAnExposition(said) from error


def _read(text: str) -> Iterator[Metric]:
    """Yield the families of the text format, samples under the names that they have.

    The parser appends `_total` to the samples of a counter without it. It leaves gauges alone, so
    that is what it is told.
    """
    counters = set(_COUNTER.findall(text))
    for metric in text_string_to_metric_families(_COUNTER.sub(r"# TYPE \1 gauge", text)):
        if metric.name in counters:
            metric.type, metric.name = "counter", metric.name.removesuffix("_total")
        yield metric


def one_line(error: BaseException | str) -> str:
    """Return the line that says what an exception is about."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().split("\n")[0][:_LONGEST] or type(error).__name__
