"""Children that keep native buckets in a file; a bucket gets its place when it is first used."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from ..core.native.buckets import MOST_BUCKETS, Buckets
from ..core.native.schemas import MIN_SCHEMA, ZERO_THRESHOLD, key_of, table
from .files.file_names import NATIVE
from .native.parts import NAN, SUM, ZERO, buckets_of, part_of
from .stored_children import StoredObservations

__all__ = ["StoredNative"]


class StoredNative(StoredObservations):
    """Observations in classic and in native buckets, in two files.

    When the resolution halves, the finer buckets stay, and readers add them up. Nothing ever moves,
    so a process that is killed leaves no observation in two places.
    """

    __slots__ = ("_bounds", "_cells", "_keys", "_schema", "_usual")

    def clear(self) -> None:
        super().clear()
        owner: Any = self.owner
        self._set_schema(owner.native_schema)
        self._keys: set[tuple[str, int]] = set()
        """The buckets in use, in the present resolution."""
        self._cells: dict[str, tuple[Any, int]] = {}
        """The place of each number: a view of doubles, and an index in it."""

    def _set_schema(self, schema: int) -> None:
        self._schema = schema
        self._bounds = table(schema)[0]
        self._usual: dict[int, tuple[Any, int]] = {}
        """The places of buckets, by their positions in the table of bounds."""

    def record(self, amount: float) -> None:
        amount = float(amount)
        super().record(amount)
        with self.owner.lock:
            self._add(SUM, amount)
            bounds = self._bounds
            place = bisect_left(bounds, amount)
            cell = self._usual.get(place)
            if cell is None:
                cell = self._cell(self._part(amount))
                if bounds is self._bounds and 0 < place < len(bounds):
                    self._usual[place] = cell
            view, index = cell
            view[index] += 1.0

    def native_snapshot(self) -> tuple[Sequence[int], Buckets]:
        """Return the observations of this process: classic buckets and native ones."""
        with self.owner.lock:
            counts, _ = self.snapshot()
            return counts, buckets_of(self._numbers().items())

    def move(self) -> None:
        super().move()
        numbers = self._numbers()
        self._cells, self._usual = {}, {}
        for part, number in numbers.items():
            self._add(part, number)

    def _numbers(self) -> dict[str, float]:
        return {part: view[index] for part, (view, index) in self._cells.items()}

    def _part(self, amount: float) -> str:
        """Return the bucket of an amount; halve the resolution if there are too many buckets."""
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
            self._set_schema(self._schema - 1)
            self._keys = {(side, key + 1 >> 1) for side, key in self._keys}
            bucket = side, key_of(size, self._schema)
        self._keys.add(bucket)
        return part_of(self._schema, *bucket)

    def _add(self, part: str, amount: float) -> None:
        view, index = self._cell(part)
        view[index] += amount

    def _cell(self, part: str) -> tuple[Any, int]:
        cell = self._cells.get(part)
        if cell is None:
            family: Any = self.owner
            view, (index,) = self._storage.places(family, self._values, ((part, None),), NATIVE)
            cell = self._cells[part] = view, index
        return cell
