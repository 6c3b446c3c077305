"""Children that keep their numbers in a file."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ..core.families.children import GaugeChild, NumberChild, ObservedChild
from ..core.families.kinds import HistogramFamily
from ..core.families.limits import LabelValues
from ..core.families.numbers import text_of
from ..core.families.storage import StoredFamily
from .files.client_library import HAS_TIMESTAMPS

__all__ = ["Files", "Places", "StoredLevel", "StoredNumber", "StoredObservations"]

Places = tuple[Any, list[int]]
"""The places of numbers: a view of doubles, and their indexes in it."""


class Files(Protocol):
    """The part of the storage that children use."""

    due: int

    def look(self) -> None:
        """Check that the files still exist, and make `due` positive again."""

    def places(
        self,
        family: StoredFamily,
        values: LabelValues,
        parts: Iterable[tuple[str, str | None]],
        kind: str = "",
    ) -> Places:
        """Return the places of a label set's numbers; `parts` has name suffixes and buckets.

        `kind` is that of the file, unless it follows from the family.
        """


class StoredNumber(NumberChild):
    """The value of a counter or a gauge, in a file."""

    __slots__ = ("_index", "_storage", "_values", "_view")

    def __init__(self, owner: StoredFamily, storage: Files, values: LabelValues) -> None:
        self._storage = storage
        self._values = values
        super().__init__(owner)
        self._find_place()

    def clear(self) -> None:
        super().clear()
        self._view: Any = None

    def exemplify(self, labels: Mapping[str, str], amount: float) -> None:
        """Do nothing: files have no place for exemplars."""

    @property
    def value(self) -> float:
        """The number of this process."""
        with self.owner.lock:  # another thread may be moving it
            return 0.0 if self._view is None else self._view[self._index]

    def record(self, amount: float) -> None:
        self._storage.due -= 1
        if self._storage.due < 0:
            self._storage.look()
        self.add(amount)

    def add(self, amount: float) -> None:
        """Add to the number, within another recording."""
        with self.owner.lock:
            if self._view is None:
                self._find_place()
            self._view[self._index] += amount

    def set(self, number: float) -> None:
        """Replace the number of this process."""
        with self.owner.lock:
            if self._view is None:
                self._find_place()
            self._view[self._index] = number

    def move(self) -> None:
        """Move the number to a new file; the caller holds the family's lock."""
        if self._view is not None:
            value = self._view[self._index]
            self._find_place()
            self._view[self._index] += value

    def _find_place(self) -> None:
        family: Any = self.owner
        self._view, (self._index,) = self._storage.places(family, self._values, family.shape)


class StoredLevel(StoredNumber, GaugeChild):
    """The value of a gauge in a file, beside the time when it was last set."""

    __slots__ = ()

    def set(self, value: float) -> None:
        value = float(value)
        self._storage.due -= 1
        if self._storage.due < 0:
            self._storage.look()
        family: Any = self.owner
        with self.owner.lock:
            if self._view is None:
                self._find_place()
            self._view[self._index] = value
            if HAS_TIMESTAMPS and family.is_only_set:
                self._view[self._index + 1] = time.time()

    def move(self) -> None:
        family: Any = self.owner
        view = self._view
        set_at = 0.0
        if view is not None and HAS_TIMESTAMPS and family.is_only_set:
            set_at = view[self._index + 1]
        super().move()
        if set_at:
            self._view[self._index + 1] = set_at


class StoredObservations(ObservedChild):
    """The observations of a histogram or a summary, in a file.

    None is ever pending: a process may be killed at any time, and each request that it answered
    must count.
    """

    __slots__ = ("_places", "_storage", "_totals", "_values", "_view")

    def __init__(self, owner: StoredFamily, storage: Files, values: LabelValues) -> None:
        self._storage = storage
        self._values = values
        super().__init__(owner)
        self._find_places()

    def clear(self) -> None:
        super().clear()
        self._view: Any = None

    def record(self, amount: float) -> None:
        amount = float(amount)
        self._storage.due -= 1
        if self._storage.due < 0:
            self._storage.look()
        with self.owner.lock:
            if self._view is None:
                self._find_places()
            view, places = self._view, self._places
            view[places[bisect_left(self.owner.bounds, amount)]] += 1.0
            view[places[-1]] += amount
            for total in self._totals:
                total.add(1.0)

    def exemplify(self, labels: Mapping[str, str], amount: float) -> None:
        """Do nothing: files have no place for exemplars."""

    @property
    def total(self) -> int:
        return sum(self.snapshot()[0])

    def snapshot(self) -> tuple[list[int], float]:
        with self.owner.lock:
            if self._view is None:
                return [0] * len(self.owner.bounds), 0.0
            *buckets, total = [self._view[place] for place in self._places]
            return [int(count) for count in buckets], total

    def move(self) -> None:
        """Move the numbers to a new file; the caller holds the family's lock."""
        if self._view is not None:
            numbers = [self._view[place] for place in self._places]
            self._find_places()
            for place, number in zip(self._places, numbers, strict=True):
                self._view[place] += number

    def _find_places(self) -> None:
        family: Any = self.owner
        parts: list[tuple[str, str | None]] = [("_count", None)]
        if isinstance(family, HistogramFamily):
            parts = [("_bucket", text_of(bound)) for bound in family.bounds]
        parts.append(("_sum", None))
        self._totals = [total.total(self._values) for total in family.totals]
        self._view, self._places = self._storage.places(family, self._values, parts)
