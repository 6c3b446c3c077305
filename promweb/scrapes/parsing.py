"""An exposition, parsed: the text format or OpenMetrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

__all__ = ["Exposition", "ScrapeError", "one_line", "parse"]

_LONGEST = 200
"""Characters of an error that are kept."""


class ScrapeError(Exception):
    """A URL could not be read, or what it answered is not what was asked for.

    The text may quote the server and is not safe for a terminal.
    """


@dataclass(frozen=True)
class Exposition:
    """What a scrape brought."""

    families: frozenset[str]
    """Names, also of families that have no sample yet."""
    samples: Mapping[str, list[Sample]] = field(default_factory=dict)
    """By the sample's name, such as `..._bucket`."""


def parse(text: str, content_type: str = "") -> Exposition:
    """Parse the text format, or OpenMetrics where the content type says so."""
    is_openmetrics = content_type.partition(";")[0].strip() == "application/openmetrics-text"
    read = (
        openmetrics.text_string_to_metric_families
        if is_openmetrics
        else text_string_to_metric_families
    )
    families: set[str] = set()
    samples: dict[str, list[Sample]] = {}
    try:
        for metric in read(text):
            families.add(metric.name)
            for sample in metric.samples:
                if sample.value is None:  # a native histogram, which has buckets elsewhere
                    continue
                samples.setdefault(sample.name, []).append(sample)
    except Exception as error:  # the parsers do not say what they raise, and it is many things
        said = f"the answer is not an exposition of metrics: {one_line(error)}"
        raise ScrapeError(said) from error
    return Exposition(frozenset(families), samples)


def one_line(error: BaseException | str) -> str:
    """Return the line that says what an exception is about."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().split("\n")[0][:_LONGEST] or type(error).__name__
