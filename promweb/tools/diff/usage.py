"""Finds what dashboards and rules select in OLD and do not find in NEW."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..promql.files import Query
from ..promql.selectors import Matcher, Selector
from ..promql.variables import read_expression, read_variable
from .differences import Difference, Differences, Level, listed
from .sides import Shape, Side

__all__ = ["Answers", "compare_usage"]

_TARGET = ("job", "instance")
"""Labels that Prometheus adds to every series; it renames a service's own labels of that name."""

_SUFFIXES = ("", "_total", "_count", "_sum", "_bucket", "_info")
"""What the names of samples may end with, where nothing more is known of a family."""

Labels = Mapping[str, str]


class _Finding(NamedTuple):
    """A difference, without the panels and rules that it is about."""

    level: Level
    check: str
    file: str
    what: str


class Answers:
    """The series of a side as Prometheus stores them, and which of them a selector finds."""

    def __init__(self, side: Side) -> None:
        self._series: dict[str, list[Labels]] = {}
        self._expected: dict[str, Shape] = {}
        for name, shape in side.families.items():
            for sample, labels in shape.numbers:
                self._series.setdefault(sample, []).append(_as_scraped(dict(labels)))
            if not shape.numbers:
                named = shape.samples or (name + suffix for suffix in _SUFFIXES)
                self._expected.update(dict.fromkeys(named, shape))

    @property
    def labels(self) -> set[str]:
        """The names of all labels."""
        seen = {label for found in self._series.values() for labels in found for label in labels}
        return seen.union(*(shape.labels for shape in self._expected.values()))

    def of(self, selector: Selector) -> list[Labels]:
        """Return the label sets of the series that a selector finds."""
        return [
            labels
            for name in self.names(selector)
            for labels in self._series.get(name, ())
            if all(m.accepts(labels.get(m.label, "")) for m in _on_labels(selector))
        ]

    def names(self, selector: Selector) -> list[str]:
        """Return the names of the metrics that a selector may match."""
        return [selector.name] if selector.name else _matched(selector, self._series)

    def has(self, selector: Selector) -> bool:
        """Tell whether there is any series of the metric."""
        return any(name in self._series for name in self.names(selector))

    def expected(self, selector: Selector) -> list[Shape]:
        """Return the definitions of the metrics of a selector that have no series yet."""
        names = [selector.name] if selector.name else _matched(selector, self._expected)
        return [self._expected[name] for name in names if name in self._expected]

    def missing(self, selector: Selector) -> str:
        """Return why a selector finds nothing."""
        there = [labels for name in self.names(selector) for labels in self._series.get(name, ())]
        if not there:
            return f"the metric {selector.name or selector} is missing"
        for matcher in _on_labels(selector):
            if not any(matcher.accepts(labels.get(matcher.label, "")) for labels in there):
                values = {labels[matcher.label] for labels in there if matcher.label in labels}
                if not values:
                    return f"the label {matcher.label!r} is missing"
                return f"no series matches {matcher}; {matcher.label} is {listed(values)}"
        return "no series matches all of these labels"


def compare_usage(old: Side, new: Side, files: Mapping[str, Sequence[Query]]) -> Differences:
    """Compare what the queries of files select; `files` has the queries by file name."""
    before, after = Answers(old), Answers(new)
    known = before.labels | after.labels
    assumed: set[str] = set()
    places: dict[tuple[str, Selector], list[str]] = {}
    for file, queries in files.items():
        for query in queries:
            try:
                read = read_variable if query.is_variable else read_expression
                selectors = read(query.text)
            except (ValueError, re.error) as error:
                said = str(error).split("\n")[0]
                what = f"{query.place}: {query.text!r} cannot be read: {said}"
                yield Difference(Level.UNREAD, "query", file, what)
                continue
            for one in selectors:
                if before.has(one):
                    assumed |= {matcher.label for matcher in one.matchers} - known - {"__name__"}
                judged = _without_target(one, known)
                users = places.setdefault((file, judged), [])
                if query.place not in users:
                    users.append(query.place)
    found: dict[_Finding, list[str]] = {}
    for (file, selector), users in places.items():
        if problem := _judged(before, after, selector):
            level, check, why = problem
            finding = _Finding(level, check, file, f"{selector}: {why}")
            found.setdefault(finding, []).extend(users)
    for finding, users in found.items():
        yield Difference(*finding, users=tuple(dict.fromkeys(users)))
    if assumed := assumed - set(_TARGET):
        what = f"no series has the labels {listed(assumed)}; Prometheus is assumed to add them"
        yield Difference(Level.NOTE, "target-labels", "", what)


def _judged(before: Answers, after: Answers, selector: Selector) -> tuple[Level, str, str] | None:
    """Return what NEW lacks, or why promweb cannot know; None if NEW has what OLD has."""
    if not before.of(selector):
        if not before.has(selector):
            return None  # a query about another program
        return Level.UNCHECKED, "old-empty", "OLD has no such series now, so it was not checked"
    missing = _missing(before, after, selector)
    if missing is None:
        why = "NEW has label values only after requests, so it was not checked"
        return Level.UNCHECKED, "values-unknown", why
    return (Level.BREAKS, "selector", missing) if missing else None


def _missing(before: Answers, after: Answers, selector: Selector) -> str | None:
    """Return what NEW lacks: "" if nothing, None if that is unknown without requests."""
    answered = before.of(selector)
    there = after.of(selector)
    if not there and (shapes := after.expected(selector)):
        found = [_unmet(answered, shape, selector) for shape in shapes]
        return min(found, key=lambda lack: (bool(lack), lack is None))
    if not there:
        return after.missing(selector)
    for label in sorted(selector.labels):
        if any(label in labels for labels in answered) and not any(label in one for one in there):
            return f"the label {label!r} is missing"
    return ""


def _unmet(answered: list[Labels], shape: Shape, selector: Selector) -> str | None:
    """Return what a definition lacks, in the same way."""
    matchers = list(_on_labels(selector))
    if not shape.is_seen:
        return None
    used = {matcher.label for matcher in matchers} | selector.labels
    for label in sorted(used - {*shape.labels, "le"}):
        if any(label in labels for labels in answered):
            return f"the label {label!r} is missing"
    bounds = [matcher for matcher in matchers if matcher.label == "le"]
    if not all(any(map(matcher.accepts, shape.bounds)) for matcher in bounds):
        return f"no bucket has this le; le is {listed(shape.bounds)}"
    return None if any(matcher.label != "le" for matcher in matchers) else ""


def _without_target(selector: Selector, known: set[str]) -> Selector:
    """Remove matchers of labels that Prometheus adds."""

    def is_own(label: str) -> bool:
        return label not in _TARGET and (label in known or label == "__name__")

    return Selector(
        selector.name,
        tuple(matcher for matcher in selector.matchers if is_own(matcher.label)),
        frozenset(label for label in selector.labels if is_own(label)),
    )


def _matched(selector: Selector, names: Iterable[str]) -> list[str]:
    """Return the names that a selector without a name matches."""
    wanted = [matcher for matcher in selector.matchers if matcher.label == "__name__"]
    return [name for name in names if all(matcher.accepts(name) for matcher in wanted)]


def _on_labels(selector: Selector) -> Iterable[Matcher]:
    return (matcher for matcher in selector.matchers if matcher.label != "__name__")


def _as_scraped(labels: dict[str, str]) -> Labels:
    """Return labels under the names that Prometheus gives them, without empty ones."""
    return {
        f"exported_{name}" if name in _TARGET else name: value
        for name, value in labels.items()
        if value
    }
