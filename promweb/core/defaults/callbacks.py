"""`on_request`: functions that see each request after it was recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..families.problems import Problems
from ..labels.callables import is_coroutine_function
from ..labels.exemplars import ExemplarReader
from ..labels.plan import LabelPlan
from ..options import Options
from ..requests.exchange import Exchange
from ..requests.methods import standard_method
from ..requests.recorder import ConnectionRecorder
from .group_by import Grouping
from .recording import group_reader, unless_excluded
from .rows import request_size, response_size, response_start

__all__ = ["Callback", "RequestCallbacks", "RequestInfo", "check_callback"]


@dataclass(frozen=True)
class RequestInfo:
    """A request that ended, as promweb measured it; None stands for facts that were not measured.

    For example:

        @metrics.on_request
        def note_slow(info: RequestInfo) -> None:
            if info.seconds > 1:
                logging.warning("slow: %s %s", info.method, info.group)
    """

    method: str
    """The method; `<other>` for one that HTTP does not define."""
    group: str
    """The group, as in the label of the default metrics."""
    status: int
    """The status that was sent."""
    seconds: float
    """Seconds from the arrival of the request until its last byte was sent."""
    exception: type[BaseException] | None
    """The class of the last exception of the request, even if an error handler answered it;
    None if there was none."""
    request_bytes: int | None
    """The bytes of the request's body; measured with one of `request_size`, `response_size` and
    `response_start`, as are the next two."""
    response_bytes: int | None
    """The bytes of the response's body that were sent."""
    first_byte_seconds: float | None
    """Seconds until the first byte of the body was sent, or until the end without a body."""


Callback = Callable[[RequestInfo], object]


class RequestCallbacks:
    """Shows the requests of an application, or of one blueprint, to functions."""

    exemplar: ExemplarReader | None = None
    websockets: ConnectionRecorder | None = None
    needs_sizes = False
    counts_in_progress = False
    awaits_in_progress = False
    comes_last = True

    def __init__(
        self,
        callbacks: list[Callback],
        options: Options,
        grouping: Grouping,
        problems: Problems,
        *,
        coroutines: bool,
        blueprint: str | None = None,
    ) -> None:
        self.identity = callbacks
        self.problems = problems
        self.plan = LabelPlan(
            "on_request",
            {} if grouping.call is None else {grouping.name: grouping.call},
            {},
            problems,
            coroutines=coroutines,
        )
        self._callbacks = callbacks
        self._blueprints = None if blueprint is None else frozenset((blueprint,))
        self._group = group_reader(grouping, self, "on_request")
        self.record: Callable[[Exchange, float], None] = self._show
        if options.excludes_some:
            self.record = unless_excluded(options, self._show)

    def preparations(self, site: object) -> Iterable[Callable[[Any], None]]:
        """Return nothing: these functions see what ended."""
        return ()

    def record_steps(self, exchange: object) -> None:
        """Record nothing: a request that goes on has not ended."""

    def in_progress(self, request: object) -> None:
        """Return None: nothing is counted."""

    async def in_progress_async(self, request: object) -> None:
        """Return None: nothing is counted."""

    def merge(self, other: RequestCallbacks) -> None:
        """Show the requests of another object, too; it has the same functions."""
        mine, theirs = self._blueprints, other._blueprints
        self._blueprints = None if mine is None or theirs is None else mine | theirs

    def _show(self, exchange: Exchange, seconds: float) -> None:
        request, sizes = exchange.request, exchange.sizes
        if self._blueprints is not None and self._blueprints.isdisjoint(request.blueprints):
            return
        try:
            info = RequestInfo(
                method=standard_method(request.method),
                group=self._group(exchange),
                status=exchange.status,
                seconds=seconds,
                exception=exchange.raised,
                request_bytes=None if sizes is None else int(request_size(exchange, seconds)),
                response_bytes=None if sizes is None else int(response_size(exchange, seconds)),
                first_byte_seconds=None if sizes is None else response_start(exchange, seconds),
            )
        except Exception:
            self.problems.failed("describe a request to on_request")
            return
        for callback in self._callbacks:
            try:
                callback(info)
            except Exception:
                name = getattr(callback, "__qualname__", repr(callback))
                self.problems.failed(f"call {name}, which on_request was given")


def check_callback(callback: object) -> None:
    """Raise TypeError for anything but a plain function of one argument."""
    if not callable(callback):
        raise TypeError(
            f"on_request takes a function of one argument, a RequestInfo, not {callback!r}"
        )
    if is_coroutine_function(callback):
        raise TypeError(
            f"on_request takes a plain function, not the coroutine function {callback!r}: a "
            "request is recorded where nothing can be awaited, such as in the middle of a "
            "cancellation. Pass a plain function that puts the RequestInfo into a queue"
        )
