"""One side of a comparison: everything that its services expose, added up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ...scrapes.parsing import Exposition

__all__ = ["Labels", "Series", "Shape", "Side", "series_of", "text"]

Labels = tuple[tuple[str, str], ...]
"""The labels of a series, sorted."""

Series = tuple[str, Labels]
"""The name of a sample, and its labels."""

_LEFT_OUT = re.compile(r"(process|python|promweb)_")
_WORKER = "pid"
_MEASURED = ("counter", "histogram", "summary", "gaugehistogram")
_PARTS = ("le", "quantile")
"""Labels that distinguish the samples of one series."""

# The same family in the text format, which has fewer types.
_AS_TEXT = {
    "info": ("_info", "gauge"),
    "stateset": ("", "gauge"),
    "gaugehistogram": ("", "histogram"),
}


@dataclass
class Shape:
    """A family: its definition and its numbers."""

    kind: str
    help: str
    unit: str
    numbers: dict[Series, float] = field(default_factory=dict)
    expected: tuple[frozenset[str], frozenset[str], frozenset[str]] | None = None
    """Names of samples, names of labels, and bounds that are known before there is a sample."""
    is_late: bool = False
    """Whether a scrape shows the family only once it has a series."""

    @property
    def is_seen(self) -> bool:
        """Whether the names of its labels are known."""
        return bool(self.numbers) or self.expected is not None

    @cached_property
    def samples(self) -> frozenset[str]:
        """The names of samples."""
        if not self.numbers and self.expected:
            return self.expected[0]
        return frozenset(name for name, _ in self.numbers)

    @cached_property
    def labels(self) -> dict[str, set[str]]:
        """The values of each label, except those that distinguish buckets and quantiles."""
        found: dict[str, set[str]] = {}
        if not self.numbers and self.expected:
            found = {label: set() for label in self.expected[1]}
        for labels in self.series:
            for label, value in labels:
                found.setdefault(label, set()).add(value)
        return found

    @cached_property
    def bounds(self) -> frozenset[str]:
        """The values of the label `le`."""
        if not self.numbers and self.expected:
            return self.expected[2]
        return frozenset(dict(labels)["le"] for _, labels in self.numbers if "le" in dict(labels))

    @cached_property
    def series(self) -> frozenset[Labels]:
        """The label sets."""
        return frozenset(series_of(dict(labels)) for _, labels in self.numbers)

    def has(self, value: str) -> bool:
        """Tell whether any label has a value."""
        return any(value in values for values in self.labels.values())


class Side:
    """Everything that one or more services expose: families, and their numbers, added up.

    It omits the label `pid`, because workers come and go, and times of creation.
    """

    def __init__(self, expositions: Sequence[Exposition]) -> None:
        self.is_openmetrics = all(exposition.is_openmetrics for exposition in expositions)
        self.families: dict[str, Shape] = {}
        """All families by name."""
        for exposition in expositions:
            self._add(exposition)

    def _add(self, exposition: Exposition) -> None:
        families = exposition.families
        for name, family in families.items():
            created = name.removesuffix("_created")
            if created != name and created in families and families[created].kind in _MEASURED:
                continue
            shape = self.families.setdefault(name, Shape(family.kind, family.help, family.unit))
            for sample in family.samples:
                if sample.name != f"{name}_created":
                    labels = sorted(pair for pair in sample.labels.items() if pair[0] != _WORKER)
                    key = sample.name, tuple(labels)
                    shape.numbers[key] = shape.numbers.get(key, 0.0) + sample.value

    def expect(self, known: Mapping[str, Shape]) -> None:
        """Add the definitions of families that have no series yet."""
        for name, shape in known.items():
            there = self.families.setdefault(name, replace(shape))
            if not there.is_seen:
                there.expected = shape.expected

    def as_text(self) -> Side:
        """Return the side as the text format would show it: without units, with fewer types."""
        side = Side([])
        side.is_openmetrics = False
        for name, shape in self.families.items():
            suffix, kind = _AS_TEXT.get(shape.kind, ("", shape.kind))
            side.families[name + suffix] = replace(shape, kind=kind, unit="")
        return side

    def changed(self, change: Callable[[str, dict[str, str]], Mapping[str, str] | None]) -> Side:
        """Return a side with other labels; `change` gets the family, and None omits a series."""
        side = Side([])
        side.is_openmetrics = self.is_openmetrics
        for name, shape in self.families.items():
            numbers: dict[Series, float] = {}
            for (sample, labels), number in shape.numbers.items():
                changed = change(name, dict(labels))
                if changed is not None:
                    key = sample, tuple(sorted(changed.items()))
                    numbers[key] = numbers.get(key, 0.0) + number
            side.families[name] = replace(shape, numbers=numbers)
        return side

    @property
    def compared(self) -> dict[str, Shape]:
        """The families of the application: none of the process, Python or promweb."""
        return {n: shape for n, shape in self.families.items() if not _LEFT_OUT.match(n)}


def series_of(labels: Mapping[str, str]) -> Labels:
    """Return the labels that all samples of one series share."""
    return tuple(sorted(pair for pair in labels.items() if pair[0] not in _PARTS))


def text(name: str, labels: Iterable[tuple[str, str]]) -> str:
    """Return a series in the notation of an exposition."""
    inner = ",".join(f'{label}="{value}"' for label, value in labels)
    return f"{name}{{{inner}}}" if inner else name
