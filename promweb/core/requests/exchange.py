"""One HTTP request as promweb sees it.

    begin  ->  respond  ->  finish

`respond` is called once, when the final response exists and the framework's request context is
still there: every label is resolved then. `finish` is called when the last byte went out, or
would have; it happens exactly once and is the only caller that records the default metrics.
An adapter calls these three and knows nothing of metrics.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import Context, ContextVar, copy_context
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from ..families.children import NumberChild
from ..families.limits import LabelValues
from ..labels.exemplars import ExemplarLabels
from ..labels.plan import LabelPlan
from .site import Recorder, Site

__all__ = ["SPECIAL", "Exchange", "Measurement", "Visit", "current"]

T = TypeVar("T")

DEFERS, SPECIAL = 1, 2

current: ContextVar[Visit | None] = ContextVar("promweb_exchange", default=None)
"""The exchange or connection that the running code belongs to."""


class Measurement(Protocol):
    """A decorated view's measurement, which waits for the final response."""

    plan: LabelPlan
    values: LabelValues | None
    """The label values, once the final response exists."""

    def flush(self) -> None:
        """Record; a measurement that still runs (a stream that was dropped) ends now."""


class Visit:
    """What an HTTP request and a websocket connection have in common: decorators ask it."""

    # Class attributes are defaults: a visit sets only what is its own.
    request: Any = None
    """The framework's request or websocket, once the application's dispatch was reached."""
    special = 0
    """Whether anything but the ordinary happened, so that ending it takes a closer look.

    `DEFERS` if all that did is that measurements wait for the final response, `SPECIAL` otherwise.
    """
    tracked = True
    """False once `do_not_track` said so: the default metrics skip this visit."""
    excluded = False
    """True once `exclude_all_metrics` said so: every metric skips this visit."""
    entered: Sequence[NumberChild] = ()
    """What counts this visit as in progress."""
    raised: type[BaseException] | None = None
    """The class of the last exception of this visit, also of one that was answered.

    The exception itself would keep the frames that it went through.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.start = site.clock()

    def defer(self, measurement: Measurement, target: object) -> bool:
        """Keep the measurement of `target` until the final response exists, if that is the view.

        Tell whether it was kept, so that ending the visit records it.
        """
        return False

    def do_not_track(self) -> None:
        """Leave this visit out of the default metrics, and of what is in progress."""
        self.tracked = False
        self.special = SPECIAL
        self.leave()

    def exclude_all(self) -> None:
        """Leave this visit out of every metric."""
        self.excluded = True
        self.special = SPECIAL
        self.leave()

    def see_exception(self) -> None:
        """Note the class of the exception that is being handled."""
        self.raised = sys.exc_info()[0]

    def leave(self) -> None:
        """Be in progress no more."""
        entered = self.entered
        self.entered = ()
        try:
            for child in entered:
                child.dec()
        except Exception:
            self.site.problems.failed("count a request as over")


class Exchange(Visit):
    """One HTTP request."""

    response: Any = None
    """The final response, once there is one (an empty one where labels need one to look at)."""
    status = 0
    """The final status, 0 while there is none."""
    progress = 0
    """How far the head of the response is, where an adapter sees it: 1 is given away, 2 sent."""
    whole = False
    """Whether the body is known to be there as a whole, so that only sending it can fail."""
    finished = False
    failed = False
    """Whether an exception stayed unhandled."""
    request_bytes = 0
    input: Any = None
    """What counts the request's body as it is read, as its `size`, if anything does.

    It does not refer to this exchange, whose request has it: that would be a cycle.
    """
    response_bytes = 0
    response_start = 0.0
    """Seconds from the beginning to the first byte of the body; 0 while there was none."""
    _deferred: list[Measurement] | tuple[()] = ()
    _targets: frozenset[int] = frozenset()
    """What the view of this request finally calls, as decorators asked."""
    _context: Context | None = None
    """The request context, for labels that are resolved when the code that was in it is gone."""
    _values: Mapping[Recorder, LabelValues] = MappingProxyType({})
    _exemplars: Mapping[Recorder, ExemplarLabels | None] = MappingProxyType({})

    def defer(self, measurement: Measurement, target: object) -> bool:
        if not self._deferred:
            rule = None if self.request is None else self.request.url_rule
            if rule is None:
                return False
            self._targets = self.site.targets(rule.endpoint)
        if id(target) not in self._targets:
            return False
        if self.status:  # a view in a thread, whose client is gone
            if self.response is None:
                self.response = self.site.make_response(self.status)
            measurement.values = measurement.plan.resolve(self.response)
            return False
        if not self._deferred:
            self._deferred = []
            self.special = self.special or DEFERS
            self._context = self._context or copy_context()
        self._deferred.append(measurement)
        return True

    def reach(self) -> None:
        """Reach the application's own dispatch, if the site `watches`; the view has not run."""
        try:
            site, rule = self.site, self.request.url_rule
            if not site.checked:
                site.check()
            if rule is not None:
                if rule.endpoint in site.endpoints:
                    return
                if site.decorators:
                    site.decorate(rule.endpoint)
            if not site.constant:
                self.special = SPECIAL
                self._context = copy_context()
            entered = site.gauges.get(self.request.method)
            if entered is None:
                entered = site.find_gauges(self.request)
            for child in entered:
                child.inc()
            self.entered = entered
        except Exception:
            self.site.problems.failed("count a request as in progress")

    def fail(self) -> None:
        """Note an exception that nobody handled; it is being handled by promweb now."""
        self.failed = True
        self.special = SPECIAL
        self.see_exception()

    def respond(self, status: int, response: object = None) -> None:
        """Take the final response and resolve every label; the request context is still there.

        Only the first call counts. Without a response, label callables see an empty one.
        """
        if self.status:
            return
        self.status = status
        self.response = response
        deferred, constant = self._deferred, self.site.constant
        if self.excluded or (constant and not deferred):
            return
        if response is None:
            response = self.response = self.site.make_response(status)
        for measurement in deferred:
            measurement.values = measurement.plan.resolve(response)
        if self.tracked and not constant:
            self._read_exemplars()
            self._values = {
                recorder: recorder.plan.resolve(response) for recorder in self.site.recorders
            }

    async def respond_async(self, status: int, response: object = None) -> None:
        """Do what `respond` does, and await labels that are coroutine functions."""
        if self.status:
            return
        self.status = status
        self.response = response
        if self.special or not self.site.constant:
            for plan, take in self._unresolved():
                take(await plan.resolve_async(self.response))

    def sent(self, size: int) -> None:
        """Count bytes of the body that are about to be sent; the first ones start the response."""
        if size and not self.response_bytes:
            self.response_start = self.site.clock() - self.start
        self.response_bytes += size

    def finish(self, status: int = 500, *, failed: bool = False) -> None:
        """End the exchange and record it; only the first call counts, and none raises.

        `status` is for an exchange that has none yet, `failed` for an exception that ended it.
        """
        if self.finished:
            return
        self.finished = True
        site = self.site
        seconds = site.clock() - self.start
        try:
            if self.special == SPECIAL or failed or not self.status:
                self._finish_specially(seconds, status, failed)
            else:
                self._context = None
                site.record(self, seconds)
                for measurement in self._deferred:
                    measurement.flush()
        finally:
            if site.watches:
                self.leave()  # last: a scrape is not to show neither

    def _finish_specially(self, seconds: float, status: int, failed: bool) -> None:
        if self.request is None:
            return  # a middleware answered: the application never saw this request
        if failed:
            self.fail()
        if not self.status:
            self.in_context(self.respond, status)
        self._context = None  # it refers to this exchange
        if self.excluded:
            return
        if self.tracked:
            record = self.site.record_specially if self.failed else self.site.record
            record(self, seconds)
        for measurement in self._deferred:
            measurement.flush()

    def abandon(self, status: int) -> None:
        """End the exchange for a client that went before anything was sent.

        There may have been a response: labels saw that one.
        """
        if not self.finished:
            self.status = self.status and status
            self.finish(status)

    @property
    def request_size(self) -> int:
        """The bytes of the request's body, as announced or as far as it was read."""
        return self.request_bytes if self.input is None else self.input.size

    def crash(self) -> None:
        """End the exchange for an exception that left the application before anything was sent.

        There may have been a response, which a teardown function then spoilt: labels saw that one.
        """
        self.spoil()
        self.finish(500, failed=True)

    def spoil(self) -> None:
        """Note that the client gets a 500 in place of the response that there was."""
        if self.status:
            self.status = 500
        self.fail()

    def in_context(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function where the request context is, if the exchange has kept that."""
        return function(*args) if self._context is None else self._context.run(function, *args)

    def values(self, recorder: Recorder) -> LabelValues:
        """Return the label values that `respond` resolved for a recorder."""
        values = self._values.get(recorder)
        return recorder.plan.resolve(self.response) if values is None else values

    def exemplar(self, recorder: Recorder) -> ExemplarLabels | None:
        """Return the exemplar that `respond` read for a recorder."""
        return self._exemplars.get(recorder)

    def _read_exemplars(self) -> None:
        self._exemplars = {
            recorder: recorder.exemplar()
            for recorder in self.site.recorders
            if recorder.exemplar is not None
        }

    def _unresolved(self) -> Iterator[tuple[LabelPlan, Callable[[LabelValues], None]]]:
        """Yield each plan of this exchange and who takes its values."""
        if self.excluded or (self.site.constant and not self._deferred):
            return
        if self.response is None:
            self.response = self.site.make_response(self.status)
        for measurement in self._deferred:
            yield measurement.plan, partial(setattr, measurement, "values")
        if self.tracked and not self.site.constant:
            self._read_exemplars()
            values: dict[Recorder, LabelValues] = {}
            self._values = values
            for recorder in self.site.recorders:
                yield recorder.plan, partial(values.__setitem__, recorder)
