"""Finds what dashboards and rules select in OLD and do not find in NEW."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import NamedTuple

from ..promql.files import Query
from ..promql.selectors import Matcher, Selector
from ..promql.variables import read_expression, read_variable
from .differences import Difference, Level, Usage, listed
from .sides import Shape, Side

__all__ = ["Answers", "compare_usage"]

_TARGET = ("job", "instance")
"""Labels that Prometheus adds to every series; it renames a service's own labels of that name."""

_SUFFIXES = ("", "_total", "_count", "_sum", "_bucket", "_info")
"""The possible endings of a sample's name, for a family without samples and definition."""

Labels = Mapping[str, str]

ASSUMED = "target-labels"
"""The check that notes a label which Prometheus is assumed to add."""

_CHANGED = 2
"""Letters that may differ between a name and the one that was meant."""

_Problem = tuple[Level, str, str]


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

    @property
    def all_names(self) -> set[str]:
        """The names of all metrics, also of those that have no series yet."""
        return {*self._series, *self._expected}

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


def compare_usage(
    old: Side, new: Side, files: Mapping[str, Sequence[Query]]
) -> tuple[list[Difference], Usage]:
    """Compare what the queries of files select; `files` has the queries by file name."""
    reader = _Reader(Answers(old), Answers(new))
    found: dict[_Finding, list[str]] = {}
    answered = assumed = 0
    for file, queries in files.items():
        for query in queries:
            findings, is_answered = reader.read(query)
            answered += is_answered
            assumed += is_answered and any(check == ASSUMED for _, check, _ in findings)
            for level, check, what in findings:
                found.setdefault(_Finding(level, check, file, what), []).append(query.place)
    differences = [
        Difference(*finding, users=tuple(dict.fromkeys(users))) for finding, users in found.items()
    ]
    return differences, Usage(len(files), sum(map(len, files.values())), answered, assumed)


class _Reader:
    """Compares what two sides answer to a query."""

    def __init__(self, before: Answers, after: Answers) -> None:
        self._before, self._after = before, after
        self._labels = before.labels | after.labels
        self._names = before.all_names | after.all_names

    def read(self, query: Query) -> tuple[list[_Problem], bool]:
        """Return what is the matter with a query, and whether both sides have all its series."""
        try:
            read = read_variable if query.is_variable else read_expression
            selectors = read(query.text)
        except (ValueError, re.error) as error:
            said = str(error).split("\n")[0]
            return [(Level.UNREAD, "query", f"{query.text!r} cannot be read: {said}")], False
        found: list[_Problem] = []
        is_answered = bool(selectors)
        for selector in selectors:
            found += self._unknown(selector)
            judged = _without_target(selector, self._labels)
            problem = _judged(self._before, self._after, judged)
            if problem:
                level, check, why = problem
                found.append((level, check, f"{judged}: {why}"))
            is_answered = is_answered and not problem and bool(self._before.of(judged))
        return found, is_answered

    def _unknown(self, selector: Selector) -> Iterator[_Problem]:
        """Yield names that no side has: Prometheus adds labels, and a name may be misspelt."""
        if self._before.has(selector):
            labels = {matcher.label for matcher in selector.matchers} | selector.labels
            for label in sorted(labels - self._labels - {"__name__", *_TARGET}):
                what = f"no series has the label {label!r}; Prometheus is assumed to add it"
                yield Level.NOTE, ASSUMED, what + _meant(label, self._labels)
        elif selector.name not in self._names and (meant := _meant(selector.name, self._names)):
            yield Level.NOTE, "unknown-metric", f"neither side has {selector.name}{meant}"


def _meant(name: str, names: Iterable[str]) -> str:
    """Return a hint if one of the names is the same with two letters changed, or with `_total`.

    Other programs have names that are alike, too, but for a word.
    """
    for near in (f"{name}_total", *get_close_matches(name, names, 3, 0.75)):
        steps = SequenceMatcher(None, name, near).get_opcodes()
        changed = sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in steps if tag != "equal")
        if near in names and (changed <= _CHANGED or near == f"{name}_total"):
            return f". Did you mean {near}?"
    return ""


def _judged(before: Answers, after: Answers, selector: Selector) -> _Problem | None:
    """Return what NEW lacks, or why promweb cannot know; None if NEW has what OLD has."""
    if not before.of(selector):
        if not (before.has(selector) or before.expected(selector)):
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
    chosen = [matcher for matcher in matchers if (matcher.op, matcher.value) != ("=~", ".*")]
    return None if any(matcher.label != "le" for matcher in chosen) else ""


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
