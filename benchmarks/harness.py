"""Comparing variants: short rounds that alternate in one process, medians of paired differences.

The time is CPU time of the process, so other programs' turns do not count. Their other disturbances
last longer than a round, so they affect all variants of a round alike, and the difference to `bare`
in the same round does not show them. The null control is `bare` a second time: the comparison
cannot resolve less than it seems to add.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from multiprocessing import get_context
from statistics import median
from time import perf_counter, process_time
from typing import NamedTuple

__all__ = [
    "BARE",
    "NULL",
    "Comparison",
    "Effort",
    "Estimate",
    "Goal",
    "Samples",
    "Table",
    "Variant",
    "compare",
    "percentile",
    "timed",
    "without_collector",
]

PROCESSES = 10
SECONDS = 4.0
"""How many processes `timed` starts, and how long each of them compares."""
BARE = "bare"
NULL = "bare again (null control)"


class Effort(NamedTuple):
    """How long to measure: quick is for tests, which look at the rows and not at the numbers."""

    quick: bool = False

    def seconds(self, full: float) -> float:
        return 0.05 if self.quick else full

    def count(self, full: int) -> int:
        """How many of something large to make."""
        return max(2, full // 50) if self.quick else full


class Variant(NamedTuple):
    """Something to measure; `run(n)` does it `n` times. It may time itself and return seconds."""

    name: str
    run: Callable[[int], float | None]


class Estimate(NamedTuple):
    """A median and its 95 % interval, from a bootstrap."""

    value: float
    low: float
    high: float

    def text(self, scale: float) -> str:
        return f"{self.value * scale:+.2f} ({self.low * scale:.2f} to {self.high * scale:.2f})"


class Samples(dict[str, list[float]]):
    """Seconds per operation of each variant, a number for each round."""

    def median(self, name: str) -> float:
        return median(self[name])

    def added(self, name: str, base: str = BARE) -> Estimate:
        """Return the median of the paired differences to another variant."""
        pairs = zip(self[name], self[base], strict=True)
        return estimate([one - other for one, other in pairs])

    def ratio(self, name: str, peer: str) -> float | None:
        """Return what a variant adds to bare as a share of what a peer adds; None without it."""
        return self.added(name).value / self.added(peer).value if peer in self else None

    def percent_of_bare(self, name: str) -> float:
        return 100 * self.added(name).value / self.median(BARE)

    def times(self, name: str, peer: str) -> float:
        """Return how many times as fast as a peer a variant is: the median of paired ratios."""
        return median(b / a for a, b in zip(self[name], self[peer], strict=True))


def compare(variants: Sequence[Variant], *, batch: int, seconds: float) -> Samples:
    """Run the variants in turn, each `batch` times a round, until the time is over.

    Each round has an order of its own. Were it rotated only, each variant would come after the
    same one always, and pay for the garbage and the cold caches that this one leaves behind. The
    garbage collector is on, as in production: what a variant leaves to collect is a cost too.
    """
    samples = Samples({variant.name: [] for variant in variants})
    for variant in variants:  # fills caches and makes label sets
        variant.run(batch)
    gc.collect()
    end = perf_counter() + seconds
    dice = random.Random(1)
    rounds = 0
    while rounds < 3 or perf_counter() < end:
        for name, run in dice.sample(variants, len(variants)):
            start = process_time()
            own = run(batch)
            elapsed = process_time() - start if own is None else own
            samples[name].append(elapsed / batch)
        rounds += 1
    return samples


def estimate(values: Sequence[float], resamples: int = 200) -> Estimate:
    """Return the median and the interval of 95 % of the medians of resamples."""
    if len(values) > 1000:
        resamples = 50
    dice = random.Random(1)
    medians = sorted(median(dice.choices(values, k=len(values))) for _ in range(resamples))
    margin = resamples // 40
    return Estimate(median(values), medians[margin], medians[-1 - margin])


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the garbage collector out of a measurement of memory or of a single long operation."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Goal(NamedTuple):
    """A measured value, its bound, and whether the bound held."""

    table: str
    measured: str
    bound: str
    verdict: str


@dataclass
class Table:
    """The printed table of one comparison. Its last three columns are for goals, if it has any."""

    title: str
    columns: tuple[str, ...] = ("variant", "median", "added to bare", "measured", "bound", "")
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    null_control: str = ""
    """The time that the null control seems to add."""

    def row(self, *cells: str) -> None:
        self.rows.append((*cells, *[""] * (len(self.columns) - len(cells))))

    def goal(self, what: str, measured: float | None, most: float, *, unit: str = "") -> None:
        """Add a goal to the last row: the measured value, and its upper bound."""
        held = measured is not None and measured <= most
        self._judge(what, measured, f"<= {most:g}{unit}", unit, held)

    def goal_at_least(self, what: str, measured: float, least: float) -> None:
        """Add a goal to the last row: how many times as fast, and the least that it must be."""
        self._judge(what, measured, f">= {least:g}x", "x", measured >= least)

    def _judge(self, what: str, measured: float | None, bound: str, unit: str, held: bool) -> None:
        if measured is None:
            goal = Goal(self.title, f"no {what}", bound, "not measured")
        else:
            text = f"{_short(measured)}{unit} {what}"
            goal = Goal(self.title, text, bound, "held" if held else "MISSED")
        self.goals.append(goal)
        last = self.rows.pop() if self.rows[-1][-3:] == ("", "", "") else ("",) * len(self.columns)
        self.rows.append((*last[:-3], *goal[1:]))

    def compared(self, samples: Samples, scale: float = 1e6, unit: str = "µs") -> Iterator[str]:
        """Add a row for each variant and yield its name, for goals to be added to the row."""
        for name in samples:
            added = "" if name == BARE else f"{samples.added(name).text(scale)} {unit}"
            if name == NULL:
                self.null_control = added
            self.row(name, f"{samples.median(name) * scale:.2f} {unit}", added)
            yield name

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(self.columns))]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        rule = "-" * max(map(len, text))
        return "\n".join(
            [self.title, rule, text[0], rule, *text[1:], *(f"  {note}" for note in self.notes)]
        )


def _short(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"


class Comparison(NamedTuple):
    """Variants, and the bounds of what they add to bare."""

    title: str
    variants: Callable[[], AbstractContextManager[Sequence[Variant]]]
    """Makes the variants; a function of a module, because other processes call it, too."""
    judge: Callable[[Table, Samples, str], None]
    """Adds the goals of a variant to its row."""
    notes: Sequence[str] = ()


def timed(comparison: Comparison, effort: Effort, *, batch: int) -> Table:
    """Compare times in several processes, one after another, and judge the samples of all.

    Where a process has its code and objects in memory is up to chance, and makes a variant up to a
    tenth faster or slower as long as the process lives.
    """
    table = Table(comparison.title, notes=[*comparison.notes])
    compared = partial(_compared, comparison.variants, batch)
    if effort.quick:
        samples = compared(effort.seconds(SECONDS))
    else:
        with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            found = pool.map(compared, [SECONDS] * PROCESSES, chunksize=1)
        samples = Samples(
            {name: [*chain.from_iterable(one[name] for one in found)] for name in found[0]}
        )
    for name in table.compared(samples):
        comparison.judge(table, samples, name)
    return table


def _compared(
    variants: Callable[[], AbstractContextManager[Sequence[Variant]]], batch: int, seconds: float
) -> Samples:
    with variants() as made:
        return compare(made, batch=batch, seconds=seconds)
