"""One HTTP request as promweb sees it.

    begin  ->  dispatch  ->  respond  ->  finish

`respond` resolves every label: the final response exists, and so does the framework's request
context. `finish` records: the last byte went out, or none will. Only the first call of each counts.
An adapter calls these and knows nothing about metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Any, TypeVar

from ..families.limits import LabelValues
from ..labels.exemplars import ExemplarLabels
from ..labels.plan import LabelPlan
from .recorder import Recorder
from .scope import Measurement, Scope, taken
from .site import Site
from .views import asks_for_exclusion

__all__ = [
    "ANSWERED",
    "CLIENT_CLOSED_REQUEST",
    "FAILED",
    "GONE",
    "Exchange",
    "Outcome",
    "Sizes",
]

T = TypeVar("T")

CLIENT_CLOSED_REQUEST = 499
"""The status of a request whose client left before a response (nginx's number for it)."""


class Outcome(IntEnum):
    """How a request ended. The number is its status if no head was sent."""

    ANSWERED = 0
    """The application answered: the status is that of its response."""
    FAILED = 500
    """An unhandled exception ended it."""
    GONE = CLIENT_CLOSED_REQUEST
    """The client left, or the rest of the body was cut."""


ANSWERED, FAILED, GONE = Outcome  # Python 3.11 is slow to find them in their class


class Sizes:
    """The bytes of a request's and a response's body, if a recorder wants them."""

    request = 0
    """The bytes of the request's body, as announced or as far as it was read."""
    response = 0
    started: float | None = None
    """When the first byte of the body was sent, by the site's clock."""


class _Labels:
    """The labels of a recorder for one request."""

    __slots__ = ("plan", "values")

    def __init__(self, plan: LabelPlan) -> None:
        self.plan = plan
        self.values: LabelValues | None = None


class Exchange(Scope):
    """One HTTP request."""

    failed = False
    """Whether an exception stayed unhandled."""
    signalled = False
    """Whether an extension is answering an exception that is not an answer by itself."""
    sizes: Sizes | None = None
    _answerer: object = None
    """The function that answers this request, once a decorator of it has asked."""
    _labels: Mapping[Recorder, _Labels] = MappingProxyType({})
    _exemplars: Mapping[Recorder, ExemplarLabels | None] = MappingProxyType({})

    @classmethod
    def apart(cls, site: Site, outer: Scope | None) -> Exchange:
        """Return an exchange for a request context made by hand, which only decorators record."""
        exchange = cls(site)
        exchange.tracked = False
        exchange.excluded = outer is not None and bool(outer.unfinished) and outer.excluded
        return exchange

    def dispatch(self, request: Any) -> None:
        """Reach the application's own dispatch with a request; the view may never run."""
        self.request = request
        site, rule = self.site, request.url_rule
        try:
            if rule is not None and (asks_for_exclusion or rule.endpoint in site.endpoints):
                site.exclude(self)
            for prepare in site.preparations:
                prepare(self)
        except Exception:
            site.problems.failed("prepare a request")

    def is_answered_by(self, target: object) -> bool:
        request, site = self.request, self.site
        if request is None:
            return False
        rule = request.url_rule
        if rule is not None and id(target) in site.targets(rule.endpoint):
            return True
        return self.raised is not None and site.handles_errors(target)

    def defer(self, measurement: Measurement, target: object) -> bool:
        if target is not self._answerer:
            if not self.is_answered_by(target):
                return False
            self._answerer = target
        if not self.status:
            if self.context is None:
                self.keep_context()
            self._deferred.append(measurement)
            if not self.status:
                return True
            try:  # another thread has made the final response
                self._deferred.remove(measurement)
            except ValueError:
                return True  # `finish` has taken it, and records it
        # A view in a thread, whose client is gone.
        measurement.values = measurement.plan.resolve(self._visible_response())
        return False

    def fail(self) -> None:
        """Note an unhandled exception; it is being handled by promweb now."""
        self.failed = True
        self.see_exception()

    def take(self, response: Any) -> Sequence[object]:
        """Take the final response; return those whose labels `resolve` is to resolve, if any.

        Only the first call counts. Raises AttributeError for a response that has no status.
        """
        if self.status:
            return ()
        status = response.status_code
        self.response = response  # before the status, which tells other threads that it is there
        self.status = status
        if status == 500 and self.signalled:
            self.failed = True
        return self._deferred or self.site.labelled

    def respond(self, status: int) -> None:
        """Take a status without a response, and resolve every label for an empty response."""
        if not self.status:
            self.response, self.status = None, status
            self.resolve()

    async def respond_async(self, status: int) -> None:
        """Like `respond`, but await the results of label callables."""
        if not self.status:
            self.response, self.status = None, status
            await self.resolve_async()

    def resolve(self) -> None:
        """Resolve every label for the final response; the request context is still there."""
        for labels in self._unresolved():
            labels.values = labels.plan.resolve(self.response)
        self.context = None  # it refers to this exchange

    async def resolve_async(self) -> None:
        """Like `resolve`, but await the results of label callables."""
        for labels in self._unresolved():
            labels.values = await labels.plan.resolve_async(self.response)
        self.context = None

    def _unresolved(self) -> list[Measurement | _Labels]:
        """Return the objects that need label values: measurements of decorators, and recorders."""
        if self.excluded or not (self._deferred or self.site.labelled):
            return []
        if self.response is None:
            self._visible_response()
        found: list[Measurement | _Labels] = [*self._deferred]
        if self.tracked and self.site.labelled:
            recorders = self.site.labelled
            self._exemplars = {
                recorder: recorder.exemplar()
                for recorder in recorders
                if recorder.exemplar is not None
            }
            self._labels = {recorder: _Labels(recorder.plan) for recorder in recorders}
            found += self._labels.values()
        return found

    def _visible_response(self) -> Any:
        """Return the response for label callables, an empty one if there is none."""
        if self.response is None:
            self.response = self.site.make_response(self.status)
        return self.response

    def finish(self, outcome: Outcome = ANSWERED) -> None:
        """End the exchange and record it; only the first call counts, and none raises.

        The status is the one that went out. If promweb cannot see any, the outcome decides.
        """
        try:
            self.unfinished.pop()
        except IndexError:
            return
        clock, record = self.site.clock, self.site.record
        seconds = clock() - self.start
        if seconds < 0.0:
            seconds = 0.0  # a clock may go backwards
        try:
            if outcome or not self.status:
                self._settle(outcome)
            elif self.sent:
                self.status = self.sent
            if self.tracked:
                record(self, seconds)
            if self._deferred:
                for measurement in taken(self._deferred):
                    measurement.flush()
        finally:
            if self.in_progress:
                self.leave()  # last: otherwise a scrape could show neither

    def _settle(self, outcome: Outcome) -> None:
        """Decide the status of a request that the framework's response does not decide."""
        if outcome is FAILED:
            self.fail()
        status = self.sent or (int(outcome) if outcome else self.status) or 500
        if self.request is None:
            self.request = self.unseen
            if self.unseen is None:
                self.tracked = False  # the server has no request for this
        elif not self.status:
            self.in_context(self.respond, status)
        self.status = status
        self.context = None

    def record_steps(self) -> None:
        if self.steps is not None and self.status and self.unfinished:  # the labels are known
            if self.tracked:
                self.site.record_steps(self)
            self.steps.begin_anew()

    def in_context(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the request context, if the exchange has kept it."""
        context = self.context  # another thread may end this exchange
        return function(*args) if context is None else context.run(function, *args)

    def labels(self, recorder: Recorder) -> LabelValues:
        """Return the label values that `respond` resolved for a recorder.

        If middleware answered, label callables have no request, and the values are empty.
        """
        if self.request is self.unseen:
            return recorder.plan.blank
        labels = self._labels.get(recorder)
        if labels is None or labels.values is None:
            return recorder.plan.resolve(self.response)
        return labels.values

    def exemplar(self, recorder: Recorder) -> ExemplarLabels | None:
        """Return the exemplar that `respond` read for a recorder."""
        return self._exemplars.get(recorder)

    def send(self, size: int) -> None:
        """Count bytes of the body that are about to be sent; the first ones start the response."""
        sizes = self.sizes
        if sizes is not None and size:
            if sizes.started is None:
                sizes.started = self.site.clock()
            sizes.response += size
