"""Which event loops an application runs in, from when it begins to serve until it ends."""

from __future__ import annotations

import weakref
from asyncio import get_running_loop
from collections.abc import Callable
from math import inf

from ...core import forking
from ...core.insight.process import LagMetrics
from .beats import running_loop
from .lanes import LoopLane
from .watchdog import watchdog

__all__ = ["LoopWatch"]


class LoopWatch:
    """Has the event loops of one application watched."""

    def __init__(self, log_from: float) -> None:
        self._log_from = log_from
        self._lags: list[Callable[[float], None]] = []
        self._lane: LoopLane | None = None
        """The lane that was used last."""
        _watches.add(self)

    def add(self, metrics: LagMetrics, log_from: float) -> None:
        """Have the lag recorded there, too; the shorter time decides what is logged."""
        self._log_from = min(self._log_from, log_from)
        if metrics.record not in self._lags:
            self._lags.append(metrics.record)

    def lane(self) -> LoopLane:
        """Return the lane of the running event loop; begin to watch the loop if it is new."""
        lane = self._lane
        try:
            if lane is not None and lane.loop is get_running_loop():
                return lane
        except RuntimeError:  # trio has no loop of asyncio
            if lane is not None and lane.loop is running_loop() and not lane.is_over:
                return lane
        lane = self._lane = self._enter()
        return lane

    def _enter(self) -> LoopLane:
        """Return the lane of the running event loop, which several applications may share."""
        lane = _known_lane()
        if lane is None:
            lane = LoopLane(inf)
        lane.log_from = min(lane.log_from, self._log_from)
        lane.lags = (*lane.lags, *(lag for lag in self._lags if lag not in lane.lags))
        lane.watches.add(self)
        watchdog.watch(lane)
        return lane

    def leave(self) -> None:
        """End to watch the running event loop, unless another application is served in it."""
        lane = _known_lane()
        self._lane = None
        if lane is None or self not in lane.watches:
            return
        lane.watches.remove(self)
        if not lane.watches:
            lane.beat.stop()
            watchdog.wake()

    def start_anew(self) -> None:
        """Forget what a forked child does not have."""
        self._lane = None


def _known_lane() -> LoopLane | None:
    """Return the lane of the running event loop if it is watched already."""
    loop = running_loop()
    return next((lane for lane in watchdog.lanes if lane.loop is loop and not lane.is_over), None)


_watches: weakref.WeakSet[LoopWatch] = weakref.WeakSet()


def _start_anew() -> None:
    for watch in _watches:
        watch.start_anew()


forking.in_child(_start_anew)
