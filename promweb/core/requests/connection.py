"""One websocket connection as promweb sees it.

    begin  ->  dispatch  ->  (accepted, message ...)  ->  finish

A connection is in progress once it is accepted. A rejected one is recorded as well, with the
HTTP status of the rejection in place of a close code.
"""

from __future__ import annotations

from ..families.limits import LabelValues
from .methods import OTHER
from .recorder import ConnectionRecorder
from .scope import Scope
from .site import Site

__all__ = ["Connection"]

_MEASURE = "measure a websocket connection"

_DEFINED_CODES = frozenset((1000, 1001, 1002, 1003, *range(1005, 1012), 1015))
"""The close codes that RFC 6455 defines (section 7.4.1)."""


class Connection(Scope):
    """One websocket connection. Nothing here raises."""

    is_accepted = False

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._labels: list[tuple[ConnectionRecorder, LabelValues]] = []
        self._dispatched = False
        self._own_code: int | None = None
        """The close code that the application sent."""
        self._ended: tuple[int | str, float] | None = None
        """Close code and seconds, once it ended; maybe before the route was known."""
        self._early = 0
        """How many messages came in before the route was known."""

    async def dispatch(self, websocket: object) -> None:
        """Take the websocket and compute its labels; the websocket context exists."""
        self.request = websocket
        try:
            await self._find_labels(websocket)
        finally:  # cancelled: the client left while a label was computed
            self._dispatched = True
            for _ in range(self._early):
                self.message("received")
            if self._ended is not None:
                self._record(*self._ended)
        self.site.decorate_view(self)

    async def _find_labels(self, websocket: object) -> None:
        for recorder in self.site.recorders:
            metrics = recorder.websockets
            if metrics is None or (metrics.excludes and metrics.excludes(self.request)):
                continue
            self._labels.append((metrics, metrics.unknown))
            try:
                self._labels[-1] = (metrics, await metrics.labels(websocket))
            except Exception:
                self._labels.pop()
                recorder.problems.failed(_MEASURE)

    def accepted(self) -> None:
        """Count as in progress from now on."""
        self.is_accepted = True
        if self.tracked and not self.in_progress and self.unfinished:
            for metrics, values in self._labels:
                try:
                    self.hold(metrics.open(values))
                except Exception:
                    self.site.problems.failed(_MEASURE)

    def message(self, direction: str) -> None:
        """Count a message, `received` or `sent`."""
        if not self._dispatched:
            self._early += 1
        elif self.tracked:
            for metrics, values in self._labels:
                try:
                    metrics.message(values, direction)
                except Exception:
                    self.site.problems.failed(_MEASURE)

    def closing(self, close_code: int) -> None:
        """Note the close code that the application is about to send."""
        self._own_code = self._own_code or close_code

    def closed_by_client(self, close_code: int) -> None:
        """End the connection with the client's close code, unless the application closed first.

        Clients invent codes: those that RFC 6455 does not define are `<other>`.
        """
        if self._own_code is not None:
            self.finish(self._own_code)
        else:
            self.finish(close_code if close_code in _DEFINED_CODES else OTHER)

    def break_off(self) -> None:
        """End with an unhandled exception or a cancellation, and the code that servers then send:

        1011, or 500 before the handshake.
        """
        self.finish(1011 if self.is_accepted else 500)

    def record_steps(self) -> None:
        if self.steps is not None and self._dispatched:
            if self.tracked:
                for metrics, values in self._labels:
                    try:
                        metrics.stepped(values, self.steps)
                    except Exception:
                        self.site.problems.failed(_MEASURE)
            self.steps.begin_anew()

    def finish(self, close_code: int | str) -> None:
        """End the connection and record it; only the first call counts."""
        try:
            self.unfinished.pop()
        except IndexError:
            return
        self._ended = (close_code, max(self.site.clock() - self.start, 0.0))
        if self._dispatched:
            self._record(*self._ended)
        self.leave()

    def _record(self, close_code: int | str, seconds: float) -> None:
        if self.tracked:
            for metrics, values in self._labels:
                try:
                    metrics.closed(values, str(close_code), seconds)
                except Exception:
                    self.site.problems.failed(_MEASURE)
