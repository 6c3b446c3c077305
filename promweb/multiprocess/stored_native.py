"""Children that keep native buckets in a file, each when something is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.native.buckets import MOST_BUCKETS, Buckets
from ..core.native.schemas import MIN_SCHEMA, ZERO_THRESHOLD, key_of
from .files.file_names import NATIVE
from .native.parts import NAN, SUM, ZERO, buckets_of, part_of
from .stored_children import StoredObservations

__all__ = ["StoredNative"]


class StoredNative(StoredObservations):
    """Observations in classic and in native buckets, in two files.

    Where the resolution halves, the finer buckets stay as they are, and readers add them up.
    Nothing is ever moved, so a process that is killed leaves no observation in two places.
    """

    __slots__ = ("_cells", "_keys", "_schema")

    def clear(self) -> None:
        super().clear()
        owner: Any = self.owner
        self._schema: int = owner.native_schema
        self._keys: set[tuple[str, int]] = set()
        """The buckets that are in use, in the present resolution."""
        self._cells: dict[str, tuple[Any, int]] = {}
        """Where each part is: a view of doubles, and an index in it."""

    def record(self, amount: float) -> None:
        amount = float(amount)
        super().record(amount)
        with self.owner.lock:
            self._add(SUM, amount)
            self._add(self._part(amount), 1.0)

    def native_snapshot(self) -> tuple[Sequence[int], Buckets]:
        """Return the observations of this process, per classic bucket and in native ones."""
        with self.owner.lock:
            counts, _ = self.snapshot()
            return counts, buckets_of(self._numbers().items())

    def move(self) -> None:
        super().move()
        numbers = self._numbers()
        self._cells = {}
        for part, number in numbers.items():
            self._add(part, number)

    def _numbers(self) -> dict[str, float]:
        return {part: view[index] for part, (view, index) in self._cells.items()}

    def _part(self, amount: float) -> str:
        """Return the bucket of an amount; the resolution halves if there is no room for it."""
        if amount != amount:
            return NAN
        size = abs(amount)
        if size <= ZERO_THRESHOLD:
            return ZERO
        side = "+" if amount > 0 else "-"
        bucket = side, key_of(size, self._schema)
        while (
            bucket not in self._keys
            and len(self._keys) >= MOST_BUCKETS
            and self._schema > MIN_SCHEMA
        ):
            self._schema -= 1
            self._keys = {(side, key + 1 >> 1) for side, key in self._keys}
            bucket = side, key_of(size, self._schema)
        self._keys.add(bucket)
        return part_of(self._schema, *bucket)

    def _add(self, part: str, amount: float) -> None:
        cell = self._cells.get(part)
        if cell is None:
            family: Any = self.owner
            view, (index,) = self._storage.places(family, self._values, ((part, None),), NATIVE)
            cell = self._cells[part] = view, index
        view, index = cell
        view[index] += amount
