"""One HTTP request as promweb sees it.

    begin  ->  respond  ->  finish

`respond` is called once, when the final response exists and the framework's request context is
still there: every label is resolved then. `finish` is called when the last byte went out, or
would have; it happens exactly once and is the only caller that records the default metrics.
An adapter calls these three and knows nothing of metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol

from .children import NumberChild
from .families import LabelValues
from .labels import LabelPlan
from .site import Recorder, Site, standard_method

__all__ = ["Exchange", "Measurement", "Visit", "current"]

current: ContextVar[Visit | None] = ContextVar("promweb_exchange", default=None)
"""The exchange or connection that the running code belongs to."""


class Measurement(Protocol):
    """A decorated view's measurement, which waits for the final response."""

    plan: LabelPlan

    def settle(self, values: LabelValues) -> None:
        """Take the label values."""

    def flush(self) -> None:
        """Record; a measurement that still runs (a stream that was dropped) ends now."""


class Visit:
    """What an HTTP request and a websocket connection have in common: decorators ask it."""

    __slots__ = ("excluded", "request", "site", "tracked")

    def __init__(self, site: Site) -> None:
        self.site = site
        self.request: Any = None
        """The framework's request or websocket, once the application's dispatch was reached."""
        self.tracked = True
        """False once `do_not_track` said so: the default metrics skip this visit."""
        self.excluded = False
        """True once `exclude_all_metrics` said so: every metric skips this visit."""

    def is_view(self, target: object) -> bool:
        """Tell whether `target` is the view that is about to answer."""
        return False

    def do_not_track(self) -> None:
        """Leave this visit out of the default metrics, and of what is in progress."""
        self.tracked = False
        self._leave()

    def exclude_all(self) -> None:
        """Leave this visit out of every metric."""
        self.excluded = True
        self._leave()

    def defer(self, measurement: Measurement) -> None:
        """Keep a view's measurement until the final response exists."""
        raise NotImplementedError

    def _leave(self) -> None:
        """Be in progress no more."""
        raise NotImplementedError


class Exchange(Visit):
    """One HTTP request."""

    __slots__ = (
        "_deferred",
        "_entered",
        "_samples",
        "failed",
        "finished",
        "method",
        "request_bytes",
        "response",
        "response_bytes",
        "response_start",
        "start",
        "status",
    )

    def __init__(self, site: Site, method: str) -> None:
        super().__init__(site)
        self.method = method
        self.response: Any = None
        self.status = 0
        """The final status, 0 while there is none."""
        self.failed = False
        """Whether an exception stayed unhandled."""
        self.finished = False
        self.request_bytes = self.response_bytes = 0
        self.response_start = 0.0
        self._deferred: list[Measurement] = []
        self._samples: dict[Recorder, LabelValues] = {}
        self._entered: Sequence[NumberChild] = ()
        if site.gauges:
            self._enter()
        self.start = site.clock()

    def is_view(self, target: object) -> bool:
        request = self.request
        if request is None or self.status or request.url_rule is None:
            return False
        return self.site.is_view(request.url_rule.endpoint, target)

    def defer(self, measurement: Measurement) -> None:
        self._deferred.append(measurement)

    def respond(self, status: int, response: object = None) -> None:
        """Take the final response and resolve every label; the request context is still there.

        Only the first call counts. Without a response, label callables see an empty one.
        """
        if self._accept(status, response):
            for plan, take in self._unresolved():
                take(plan.resolve(self.response))

    async def respond_async(self, status: int, response: object = None) -> None:
        """Do what `respond` does, and await labels that are coroutine functions."""
        if self._accept(status, response):
            for plan, take in self._unresolved():
                take(await plan.resolve_async(self.response))

    def sent(self, size: int) -> None:
        """Count bytes of the body that are about to be sent; the first ones start the response."""
        if not self.response_bytes and not self.response_start:
            self.response_start = max(self.site.clock() - self.start, 0.0)
        self.response_bytes += size

    def finish(self, status: int = 500, *, failed: bool = False) -> None:
        """End the exchange and record it; only the first call counts, and none raises.

        `status` is for an exchange that has none yet, `failed` for an exception that ended it.
        """
        if self.finished:
            return
        self.finished = True
        seconds = max(self.site.clock() - self.start, 0.0)
        self._leave()
        self.response_start = self.response_start or seconds
        if self.request is None:
            return  # a middleware answered: the application never saw this request
        self.failed |= failed
        self.respond(status)
        if self.excluded:
            return
        for measurement in self._deferred:
            measurement.flush()
        if self.tracked:
            samples = self._samples
            for recorder in self.site.recorders:
                values = samples.get(recorder) or recorder.plan.resolve(self.response)
                try:
                    recorder.record(self, values, seconds)
                except Exception:
                    recorder.problems.failed("record a request")

    def _accept(self, status: int, response: object) -> bool:
        """Take the first final response; tell whether there are labels to resolve."""
        if self.status:
            return False
        self.status = status
        labels = bool(self._deferred) or not self.site.constant
        if response is None and labels:
            response = self.site.make_response(status)
        self.response = response
        return labels and not self.excluded

    def _unresolved(self) -> Iterator[tuple[LabelPlan, Callable[[LabelValues], None]]]:
        """Yield each plan of this exchange and who takes its values."""
        for measurement in self._deferred:
            yield measurement.plan, measurement.settle
        if self.tracked and not self.site.constant:
            for recorder in self.site.recorders:
                yield recorder.plan, partial(self._samples.__setitem__, recorder)

    def _enter(self) -> None:
        method = standard_method(self.method)
        self._entered = [gauge.child((method,)) for gauge in self.site.gauges]
        for child in self._entered:
            child.inc()

    def _leave(self) -> None:
        entered, self._entered = self._entered, ()
        for child in entered:
            child.dec()
