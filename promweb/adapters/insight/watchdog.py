"""A thread that finds what blocks an event loop, while it does, and logs it.

CPU that others take looks like a block, too: the thread sees how much time passes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from math import inf
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import NamedTuple

from ...core import forking
from ...core.families.problems import logger
from ...core.insight.places import Place, is_waiting, place_of
from ...core.requests.steps import Block, Stepping
from .lanes import LoopLane

__all__ = ["Report", "Watchdog", "watchdog"]

HOUR = 3600.0
"""Seconds in which a place is logged once."""
MOST_PLACES = 1000
"""Places that are remembered; when there are more, all are forgotten."""
HANGS = 10.0
"""Seconds after which a block is logged though it goes on."""
UNSEEN = Place("a place that the watchdog did not see", "")
"""Where a block was that ended before the thread could look."""


class Report(NamedTuple):
    """One block that was seen."""

    seconds: float
    place: Place
    scope: Stepping | None
    """Whose step it was; None for what belongs to no request."""
    is_over: bool = True


class Watchdog:
    """Watches event loops as long as there are any. `report` takes each block, in the thread.

    `tells_unseen` says whether to report that a beat was late where the thread saw no place. It is
    late for the blocks of requests as well, which have reports of their own.
    """

    def __init__(self, report: Callable[[Report], None], *, tells_unseen: bool = False) -> None:
        self._report = report
        self._tells_unseen = tells_unseen
        self.start_anew()

    def start_anew(self) -> None:
        """Have nothing to watch, as in a forked child, which has no such thread."""
        self._lock = threading.Lock()
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._seen: dict[LoopLane, tuple[float, Place, bool]] = {}
        """The block that was seen last: when it began, where it was, and whether it is reported."""
        self.lanes: tuple[LoopLane, ...] = ()

    def watch(self, lane: LoopLane) -> None:
        """Watch an event loop until its beat is over."""
        with self._lock:
            if lane not in self.lanes:
                self.lanes = (*self.lanes, lane)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="promweb-loop", daemon=True)
                self._thread.start()
        self.wake()

    def wake(self) -> None:
        """Have the thread look at once: a lane came, or is over."""
        self._wakes.put(None)

    def join(self) -> None:
        """Wait until the thread has ended, which it does when every lane is over."""
        thread = self._thread
        self.wake()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        pause = 0.0
        while self._is_needed():
            with suppress(Empty):
                self._wakes.get(timeout=pause)
            pause = inf
            for lane in self.lanes:
                pause = min(pause, self._visit(lane))

    def _is_needed(self) -> bool:
        """Leave the lanes that are over; return whether this thread still has one to watch."""
        over = [lane for lane in self.lanes if lane.is_over]
        if not over:
            return True
        with self._lock:
            self.lanes = tuple(lane for lane in self.lanes if lane not in over)
            if not self.lanes:
                self._thread = None
        for lane in over:
            self._tell(lane)
            self._seen.pop(lane, None)
        return self._thread is threading.current_thread()

    def _visit(self, lane: LoopLane) -> float:
        """Report the blocks that are over, then note the one that goes on now in their place."""
        self._tell(lane)
        return self._look(lane)

    def _look(self, lane: LoopLane) -> float:
        """Note the place of a block that goes on now. Return the seconds until the next look.

        A step that runs now is a block then, if it still runs. A later one becomes a block later.
        """
        began, scope = _blocked_since(lane)
        seconds = perf_counter() - began
        if seconds < lane.log_from:
            return min(lane.log_from - seconds, lane.log_from)
        known, place, is_told = self._seen.get(lane, (-1.0, UNSEEN, False))
        if known != began:
            frame = sys._current_frames().get(lane.thread)
            if frame is None or is_waiting(frame) or _blocked_since(lane) != (began, scope):
                return lane.log_from  # it ended meanwhile, or the loop gets no processor
            place, is_told = place_of(frame, _root(scope)), False
        if seconds >= HANGS and not is_told:
            self._report(Report(seconds, place, scope, is_over=False))
            is_told = True
        self._seen[lane] = began, place, is_told
        return lane.log_from

    def _tell(self, lane: LoopLane) -> None:
        """Report the blocks that are over."""
        began, place, is_told = self._seen.get(lane, (-1.0, UNSEEN, False))
        while lane.blocks:
            block: Block = lane.blocks.popleft()
            is_seen = block.began == began
            if is_seen and is_told:
                continue
            if is_seen or block.scope is not None or self._tells_unseen:
                self._report(Report(block.seconds, place if is_seen else UNSEEN, block.scope))


def _blocked_since(lane: LoopLane) -> tuple[float, Stepping | None]:
    """Return since when the event loop may be blocked, and by whom."""
    scope = lane.scope
    began = lane.began
    if scope is not None and lane.scope is scope:
        return began, scope
    return lane.outside_since(lane.beat.due), None


def _root(scope: Stepping | None) -> str:
    return "" if scope is None else str(scope.site.app.root_path)


class _Log:
    """Logs reports, each place once an hour. Names the rule of a route and no data of a request."""

    def __init__(self) -> None:
        self._logged: dict[tuple[Place, str], float] = {}

    def __call__(self, report: Report) -> None:
        rule, now = _rule(report.scope), perf_counter()
        key = report.place, rule if report.place is UNSEEN else ""
        last = self._logged.get(key)
        if last is not None and now - last < HOUR:
            return
        if len(self._logged) >= MOST_PLACES:
            self._logged.clear()
        self._logged[key] = now
        with suppress(Exception):  # a handler may raise
            logger.warning(
                "Code blocked the event loop for %.1f s at %s%s%s. All other requests waited "
                "meanwhile. Such a place is logged once an hour.",
                report.seconds,
                report.place,
                f" in {rule}" if rule else ", outside of requests",
                "" if report.is_over else ", and still does",
            )


def _rule(scope: Stepping | None) -> str:
    if scope is None:
        return ""
    if scope.request is None:
        return "a request before its dispatch"
    rule = scope.request.url_rule
    return "<unmatched>" if rule is None else str(rule.rule)


watchdog = Watchdog(_Log())
"""That of this process."""

forking.in_child(watchdog.start_anew)
