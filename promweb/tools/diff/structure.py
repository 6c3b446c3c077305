"""Compares what two sides expose: families, types, help texts, units, labels, buckets, series."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches

from ...core.defaults.group_by import UNMATCHED
from .differences import Difference, Differences, Level, listed
from .sides import Shape, Side, text

__all__ = ["compare_structure"]


def compare_structure(old: Side, new: Side, *, same_traffic: bool = False) -> Differences:
    """Compare all families; `same_traffic` makes other values and series break queries, too."""
    before, after = old.compared, new.compared
    for name in sorted(before.keys() - after.keys()):
        near = get_close_matches(name, after.keys() - before.keys(), 1, 0.8)
        hint = f"; {near[0]} is new" if near else ""
        level = Level.BREAKS
        if _is_of_strangers(before[name]) and not same_traffic:
            level, hint = Level.MAYBE, f"; OLD has it only for {UNMATCHED}"
        yield Difference(level, "family-gone", name, f"the family is gone{hint}")
    for name in sorted(after.keys() - before.keys()):
        if after[name].is_late and not after[name].numbers:
            continue  # OLD may have it, too
        what = f"the family is new, a {after[name].kind}"
        yield Difference(Level.ADDS, "family-new", name, what)
    for name in sorted(before.keys() & after.keys()):
        yield from _compare(name, before[name], after[name], same_traffic)


def _is_of_strangers(shape: Shape) -> bool:
    """Tell whether every series is of something that no route matched, such as a websocket."""
    return bool(shape.series) and all(
        UNMATCHED in (value for _, value in labels) for labels in shape.series
    )


def _compare(name: str, old: Shape, new: Shape, same_traffic: bool) -> Differences:
    def found(level: Level, check: str, what: str) -> Difference:
        return Difference(level, check, name, what)

    is_other_kind = old.kind != new.kind
    if is_other_kind:
        yield found(Level.BREAKS, "type", f"the type was {old.kind} and is {new.kind}")
    if old.help != new.help:
        yield found(Level.NOTE, "help", f"the help text was {old.help!r} and is {new.help!r}")
    if old.unit != new.unit:
        yield found(Level.NOTE, "unit", f"the unit was {old.unit!r} and is {new.unit!r}")
    if old.is_seen and not new.is_seen:
        what = "there is no series yet, so its labels could not be compared"
        yield found(Level.BREAKS if same_traffic else Level.MAYBE, "unseen", what)
    if not (old.is_seen and new.is_seen):
        return
    if not is_other_kind:  # another type has other names of samples, too
        yield from _samples(found, old, new)
        yield from _bounds(found, old, new)
    yield from _labels(found, old, new, same_traffic)


_Found = Callable[[Level, str, str], Difference]


def _samples(found: _Found, old: Shape, new: Shape) -> Differences:
    gone, more = old.samples - new.samples, new.samples - old.samples
    if gone:
        yield found(Level.BREAKS, "sample-gone", f"no sample is named {listed(gone)} any more")
    if more:
        yield found(Level.ADDS, "sample-new", f"samples are named {listed(more)}")


def _bounds(found: _Found, old: Shape, new: Shape) -> Differences:
    gone, more = old.bounds - new.bounds, new.bounds - old.bounds
    # Queries compare the text of `le`, so 0.5 and 0.50 are different buckets.
    if gone:
        yield found(Level.BREAKS, "bucket-gone", f"the bucket le={_numbers(gone)} is gone")
    if more:
        yield found(Level.ADDS, "bucket-new", f"the bucket le={_numbers(more)} is new")


def _numbers(bounds: Iterable[str]) -> str:
    def number(bound: str) -> float:
        try:
            return float(bound)
        except ValueError:
            return float("inf")

    return ", ".join(f'"{bound}"' for bound in sorted(bounds, key=number))


def _labels(found: _Found, old: Shape, new: Shape, same_traffic: bool) -> Differences:
    lost = Level.BREAKS if same_traffic else Level.MAYBE
    gone, more = old.labels.keys() - new.labels.keys(), new.labels.keys() - old.labels.keys()
    for label in sorted(gone):
        has = listed(new.labels) or "no label"
        yield found(Level.BREAKS, "label-gone", f"the label {label!r} is gone; it has {has}")
    for label in sorted(more):
        yield found(Level.ADDS, "label-new", f"the label {label!r} is new")
    if not new.numbers:  # the names of its labels are known all the same
        return
    explained = bool(gone or more)
    for label in sorted(old.labels.keys() & new.labels.keys()):
        was, now = old.labels[label], new.labels[label]
        if was - now:
            explained = True
            what = f"the label {label!r} has no value {listed(map(repr, was - now))}"
            yield found(lost, "value-gone", what)
        if now - was:
            what = f"the label {label!r} has the value {listed(map(repr, now - was))}"
            yield found(Level.ADDS, "value-new", what)
    # A missing value explains its missing series.
    if not explained and (missing := old.series - new.series):
        named = listed(text("", labels) for labels in missing)
        what = f"{len(missing):,} series are missing: {named}"
        yield found(lost, "series-gone", what)
