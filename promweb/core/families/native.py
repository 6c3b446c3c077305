"""Histograms with native buckets, with or without classic ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..native.buckets import Buckets
from ..native.schemas import schema_of
from ..options import DEFAULT_FACTOR
from .children import ObservedChild
from .kinds import HistogramFamily
from .limits import LabelValues

__all__ = ["NativeChild", "NativeHistogramFamily"]


class NativeChild(ObservedChild):
    """Observations in classic and in native buckets, taken by the same flush."""

    __slots__ = ("_native",)

    def clear(self) -> None:
        super().clear()
        owner: Any = self.owner
        self._native = Buckets(owner.native_schema)

    def _take(self, count: int) -> None:
        taken = self.pending[:count]
        total = sum(taken)
        if total != total:  # NaN, or infinities of both signs
            taken = [number for number in taken if number == number]
        taken.sort()
        buckets = self._added(taken) if taken else self._buckets.copy()
        buckets[-1] += count - len(taken)
        native = self._native.added(taken, count, total)
        self._buckets, self._count, self._sum = buckets, native.count, native.sum
        self._native = native
        del self.pending[:count]

    def native_snapshot(self) -> tuple[Sequence[int], Buckets]:
        """Return the observations per classic bucket and the native ones, of one moment."""
        with self.owner.lock:
            if self.pending:
                self.flush()
            return self._buckets, self._native


class NativeHistogramFamily(HistogramFamily):
    """A histogram with native buckets that grow by at most `factor`, which is above 1.

    Without classic `buckets`, text shows only the number of observations and their sum.
    """

    child_class = NativeChild

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        *,
        factor: float = DEFAULT_FACTOR,
        buckets: Iterable[float | str] = HistogramFamily.client_class.DEFAULT_BUCKETS,
        **options: Any,
    ) -> None:
        self.native_schema = schema_of(factor)
        bounds = [float(bound) for bound in buckets]
        has_buckets = bounds not in ([], [math.inf])
        # prometheus_client refuses fewer than two.
        checked = bounds if has_buckets else [1.0]
        super().__init__(name, documentation, labelnames, buckets=checked, **options)
        if not has_buckets:
            self.bounds, self.zeros = (math.inf,), [0]
            self.shape = (("_bucket", "+Inf"), ("_count", None), ("_sum", None))
            self.clear()

    @property
    def schema(self) -> tuple[object, ...]:
        return (*super().schema, self.native_schema)

    def __str__(self) -> str:
        return f"{super().__str__()} and native buckets of schema {self.native_schema}"

    def native(self, values: LabelValues, child: Any) -> tuple[Sequence[float], Buckets] | None:
        """Return a label set's observations per classic bucket, and its native buckets."""
        snapshot: tuple[Sequence[float], Buckets] = child.native_snapshot()
        return snapshot
