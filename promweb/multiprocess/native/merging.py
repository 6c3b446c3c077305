"""Merges the native buckets of all files, and bounds those of dead workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...core.families.limits import LabelValues
from ...core.native.buckets import MOST_BUCKETS, Buckets
from ..files.keys import Key, Keys, Labels, Part
from .parts import buckets_of, parts_of

__all__ = ["Natives", "bounded"]

_MOST_PARTS = MOST_BUCKETS + 3
"""Identifies a number within a label set: its name, and a bound."""

Number = tuple[float, float]
"""A number and its time."""


class Natives:
    """The native buckets of one metric at one moment; computed when they are read."""

    def __init__(
        self, name: str, slots: Mapping[LabelValues, Mapping[Part, int]], numbers: Sequence[float]
    ) -> None:
        self._start = len(name)
        self._slots = slots
        self._numbers = numbers

    def of(self, values: LabelValues) -> Buckets | None:
        """Return the buckets of a label set; None if no file has any."""
        slots = self._slots.get(values)
        if slots is None:
            return None
        start, numbers = self._start, self._numbers
        return buckets_of([(sample[start:], numbers[slot]) for (sample, _), slot in slots.items()])


def bounded(numbers: Mapping[Key, Number], keys: Keys) -> dict[Key, Number]:
    """Return the numbers of dead workers with a bounded number of buckets for each label set.

    Workers may have used different buckets, and different resolutions.
    """
    label_sets: dict[tuple[str, Labels], list[Key]] = {}
    for key in numbers:
        label_sets.setdefault((key.metric, key.labels), []).append(key)
    result: dict[Key, Number] = {}
    for found in label_sets.values():
        if len(found) > _MOST_PARTS:
            result.update(_with_fewer(found, numbers, keys))
        else:
            result.update((key, numbers[key]) for key in found)
    return result


def _with_fewer(
    found: Sequence[Key], numbers: Mapping[Key, Number], keys: Keys
) -> Iterable[tuple[Key, Number]]:
    start = len(found[0].metric)
    buckets = buckets_of([(key.sample[start:], numbers[key][0]) for key in found])
    for part, number in parts_of(buckets).items():
        yield keys.beside(found[0], part), (number, 0.0)
