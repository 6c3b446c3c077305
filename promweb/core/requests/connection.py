"""One websocket connection as promweb sees it.

    begin  ->  dispatch  ->  (accepted, message ...)  ->  finish

A connection is in progress from when it is accepted. A rejected one is recorded as well, with the
HTTP status of the rejection in place of a close code.
"""

from __future__ import annotations

from ..labels.plan import ERROR
from .recorder import ConnectionRecorder
from .scope import Scope
from .site import Site

__all__ = ["Connection"]

_MEASURE = "measure a websocket connection"


class Connection(Scope):
    """One websocket connection. Nothing here raises."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._groups: list[tuple[ConnectionRecorder, str]] = []
        self._dispatched = False
        self._ended: tuple[int, float] | None = None
        """Close code and seconds, once it ended; maybe before the route was known."""
        self._early = 0
        """How many messages came in before the route was known."""

    async def dispatch(self, websocket: object) -> None:
        """Take the websocket and compute its groups; the websocket context is there."""
        self.request = websocket
        try:
            await self._find_groups(websocket)
        finally:  # cancelled: the client left while a group was computed
            self._dispatched = True
            for _ in range(self._early):
                self.message("received")
            if self._ended is not None:
                self._record(*self._ended)
        self.site.decorate_view(self)

    async def _find_groups(self, websocket: object) -> None:
        for recorder in self.site.recorders:
            metrics = recorder.websockets
            if metrics is None or (metrics.excludes and metrics.excludes(self.request.path)):
                continue
            self._groups.append((metrics, ERROR))
            try:
                self._groups[-1] = (metrics, await metrics.group(websocket))
            except Exception:
                self._groups.pop()
                recorder.problems.failed(_MEASURE)

    def accepted(self) -> None:
        """Be in progress from now on."""
        if self._counts and not self.in_progress and not self.finished:
            for metrics, group in self._groups:
                try:
                    self.in_progress = (*self.in_progress, metrics.open(group))
                except Exception:
                    self.site.problems.failed(_MEASURE)

    def message(self, direction: str) -> None:
        """Count a message, `received` or `sent`."""
        if not self._dispatched:
            self._early += 1
        elif self._counts:
            for metrics, group in self._groups:
                try:
                    metrics.message(group, direction)
                except Exception:
                    self.site.problems.failed(_MEASURE)

    def finish(self, close_code: int) -> None:
        """End the connection and record it; only the first call counts."""
        if self.finished:
            return
        self.finished = True
        self._ended = (close_code, max(self.site.clock() - self.start, 0.0))
        if self._dispatched:
            self._record(*self._ended)
        self.leave()

    def _record(self, close_code: int, seconds: float) -> None:
        if self._counts:
            for metrics, group in self._groups:
                try:
                    metrics.closed(group, str(close_code), seconds)
                except Exception:
                    self.site.problems.failed(_MEASURE)

    @property
    def _counts(self) -> bool:
        return self.tracked and not self.excluded
