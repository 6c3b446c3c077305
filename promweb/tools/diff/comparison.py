"""Compares two sides: what is the same on purpose, what breaks, what is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..promql.files import Query
from .differences import Difference, Level, Usage
from .known import is_other_program, translated
from .sides import Side
from .structure import compare_structure
from .values import compare_growth, compare_values, same_gauges, since

__all__ = ["compare", "compare_traffic"]


def compare(
    old: Side, new: Side, files: Mapping[str, Sequence[Query]], *, same_traffic: bool
) -> tuple[list[Difference], Usage | None]:
    """Compare what two sides expose, and what the queries of files find there, if there are any."""
    if old.is_openmetrics != new.is_openmetrics:
        old, new = old.as_text(), new.as_text()
    found: list[Difference] = []
    usage = None
    if files:
        from .usage import compare_usage  # needs the parser of PromQL

        found, usage = compare_usage(old, new, files)
    is_other = is_other_program(old, new)
    old, known = translated(old, new)
    found += known
    found += compare_structure(old, new, same_traffic=same_traffic)
    if same_traffic:
        found += compare_values(old, new, is_other_program=is_other)
    order = list(Level)
    found.sort(key=lambda one: (order.index(one.level), one.family, one.check, one.what))
    return found, usage


def compare_traffic(befores: Sequence[Side], afters: Sequence[Side]) -> list[Difference]:
    """Compare how much each side counted between two moments.

    A gauge may also have the same value on both sides now, because it may have been set.
    """
    old, new = (since(after, before) for after, before in zip(afters, befores, strict=True))
    if old.is_openmetrics != new.is_openmetrics:
        old, new = old.as_text(), new.as_text()
    is_other = is_other_program(old, new)
    old, known = translated(old, new)
    last = translated(afters[0], afters[1])[0]
    found = [*known, *compare_growth(old, new, is_other, same_gauges(last, afters[1]))]
    if not any(any(shape.numbers.values()) for shape in old.compared.values()):
        what = "OLD counted none of the requests that it got"
        found.append(Difference(Level.UNREAD, "uncounted", "", what))
    return found
