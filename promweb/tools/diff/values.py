"""Compares the numbers of two sides that got the same requests."""

from __future__ import annotations

from collections.abc import Collection

from ...core.labels.plan import ERROR
from ...testing import depends_on_the_clock
from .differences import Difference, Differences, Level, listed
from .known import KNOWN
from .sides import Series, Shape, Side, text

__all__ = ["compare_growth", "compare_values", "same_gauges", "since"]

_EXCEPTIONS = "http_request_exceptions"


def compare_values(old: Side, new: Side, *, is_other_program: bool = False) -> Differences:
    """Compare all numbers except times, of families on both sides; a missing series is 0."""
    return _compare(old, new, "is {new} and was {old}", is_other_program)


def compare_growth(
    old: Side, new: Side, is_other_program: bool, settled: Collection[Series]
) -> Differences:
    """Compare by how much numbers changed, except those of `settled`."""
    return _compare(old, new, "changed by {new}, in OLD by {old}", is_other_program, settled)


def _compare(
    old: Side, new: Side, words: str, is_other_program: bool, settled: Collection[Series] = ()
) -> Differences:
    before, after = old.compared, new.compared
    for name in sorted(before.keys() & after.keys()):
        was, now = before[name], after[name]
        if was.kind != now.kind:
            continue
        found: dict[str, list[str]] = {}
        for key in sorted(was.numbers.keys() | now.numbers.keys()):
            first, then = was.numbers.get(key, 0.0), now.numbers.get(key, 0.0)
            if first != then and key not in settled and not _is_time(name, now, key):
                known = _known(name, key, then > first) if is_other_program else ""
                said = words.format(new=_number(then), old=_number(first))
                found.setdefault(known, []).append(f"{text(*key)} {said}")
        for known, numbers in found.items():
            level = Level.KNOWN if known else Level.BREAKS
            yield Difference(level, "number", name, listed(numbers), KNOWN.get(known, ""))


def _known(family: str, key: Series, is_more: bool) -> str:
    """Return the check of the documented difference that explains a number; "" if none does."""
    if is_more and ERROR in dict(key[1]).values():
        return "error"
    return "exceptions" if is_more and family.endswith(_EXCEPTIONS) else ""


def same_gauges(old: Side, new: Side) -> set[Series]:
    """Return the series of gauges that have the same number on both sides."""
    return {
        key
        for name, shape in new.compared.items()
        if shape.kind == "gauge" and name in old.compared
        for key, number in shape.numbers.items()
        if old.compared[name].numbers.get(key) == number
    }


def since(after: Side, before: Side) -> Side:
    """Return `after` minus `before`."""
    side = after.changed(lambda _, labels: labels)
    for name, shape in side.families.items():
        if name in before.families:
            earlier = before.families[name].numbers
            for key in shape.numbers:
                shape.numbers[key] -= earlier.get(key, 0.0)
    return side


def _is_time(family: str, shape: Shape, key: Series) -> bool:
    return depends_on_the_clock(family, shape.kind) and not key[0].endswith("_count")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)
