"""Plans for reading all files of a kind as one, made when keys change and used at each scrape.

All files of one kind (see `file_names`) share an order of blocks. A plan knows where each file has
the numbers of that order, so single calls fetch, order and add up thousands of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from .files.keys import Block, Key, Keys, Shape
from .files.reading import FileReader, Numbers, picker
from .merging import families

__all__ = ["Plan"]

_COMBINE: dict[str, tuple[Callable[[Any], Any], float]] = {
    "min": (min, float("inf")),
    "max": (max, float("-inf")),
}
"""How to combine numbers of several files, and what replaces a missing one; others are added."""

Column = dict[Block, int]
"""The position of each block in a file, in doubles."""


class Plan:
    """How to read the files of one kind, until their keys change."""

    def __init__(self, kind: str, files: Sequence[tuple[FileReader, str]], keys: Keys) -> None:
        self._type, _, mode = kind.partition("_")
        mode = mode.removeprefix("live")
        self._by_time = mode == "mostrecent"
        self._combine, missing = _COMBINE.get(mode, (sum, 0.0))
        sources = []
        for file, owner in files:
            blocks = file.blocks
            if mode == "all":
                blocks = [_of_process(block, owner, keys) for block in blocks]
            sources.append((file, blocks, file.bases))
        if _overlap(chain.from_iterable(blocks for _, blocks, _ in sources)):
            singles: dict[Key, Block] = {}
            sources = [(file, *_split(blocks, bases, singles)) for file, blocks, bases in sources]
        order = dict.fromkeys(chain.from_iterable(blocks for _, blocks, _ in sources))
        columns = [
            (file, column) for file, blocks, bases in sources for column in _columns(blocks, bases)
        ]
        self._rows = [_Row(file, column, order, missing) for file, column in columns]
        self.families = families(self._type, order, may_lack=self._by_time)

    def numbers(self) -> list[Any]:
        """Return the present numbers of all keys; None if no file has one."""
        if self._by_time:
            return _most_recent(
                [row.read() for row in self._rows], [row.read(1) for row in self._rows]
            )
        if len(self._rows) == 1:
            return list(self._rows[0].read())
        return list(map(self._combine, zip(*[row.read() for row in self._rows], strict=True)))


class _Row:
    """One file's numbers in the common order."""

    def __init__(
        self, file: FileReader, column: Column, order: Collection[Block], missing: float
    ) -> None:
        self._file = file
        self._missing = (missing,)
        self._spread: Callable[[Numbers], Numbers] | None = None
        bases = list(map(column.get, order))
        blocks = [
            (block, base) for block, base in zip(order, bases, strict=True) if base is not None
        ]
        self._positions = [base + word for block, base in blocks for word in block.shape.words]
        self._pick = picker(self._positions)
        if None in bases:
            last = len(self._positions)
            index = iter(range(last))
            self._spread = picker(
                [
                    last if base is None else next(index)
                    for block, base in zip(order, bases, strict=True)
                    for _ in block.keys
                ]
            )

    def read(self, offset: int = 0) -> Numbers:
        """Return the numbers, or the doubles at an offset from each number."""
        pick = self._pick
        if offset:
            pick = picker([position + offset for position in self._positions])
        numbers = pick(self._file.doubles)
        return numbers if self._spread is None else self._spread(numbers + self._missing)


def _columns(blocks: Sequence[Block], bases: Sequence[int]) -> Iterator[Column]:
    """Yield the positions of a file's blocks; a second time for blocks that it has twice."""
    while True:
        column = dict(zip(blocks, bases, strict=True))
        yield column
        if len(column) == len(blocks):
            return
        left = [(b, at) for b, at in zip(blocks, bases, strict=True) if column[b] != at]
        blocks, bases = [block for block, _ in left], [at for _, at in left]


def _overlap(blocks: Iterable[Block]) -> bool:
    """Tell whether a key is in several blocks: files differ, or one was only partly read."""
    keys = [key for block in dict.fromkeys(blocks) for key in block.keys]
    return len(set(keys)) < len(keys)


def _split(
    blocks: Sequence[Block], bases: Sequence[int], singles: dict[Key, Block]
) -> tuple[list[Block], list[int]]:
    """Return blocks of one key each; `singles` keeps them, one for each key."""
    keys, positions = [], []
    for block, base in zip(blocks, bases, strict=True):
        for key, word in zip(block.keys, block.shape.words, strict=True):
            single = singles.get(key)
            if single is None:
                single = singles[key] = Block((key,), (), _SINGLE)
            keys.append(single)
            positions.append(base + word - _SINGLE.words[0])
    return keys, positions


def _of_process(block: Block, pid: str, keys: Keys) -> Block:
    """Return a block whose keys have the label `pid` of one process."""
    return Block(tuple([keys.of_process(key, pid) for key in block.keys]), (), block.shape)


_SINGLE = Shape([0])


def _most_recent(rows: Iterable[Numbers], times: Iterable[Numbers]) -> list[float | None]:
    """Return the numbers that were set last; None for a number that was never set."""
    result: list[float | None] = []
    for numbers, set_at in zip(zip(*rows, strict=True), zip(*times, strict=True), strict=True):
        latest = max(set_at)
        result.append(numbers[set_at.index(latest)] if latest > 0 else None)
    return result
