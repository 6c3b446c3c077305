"""What promweb knows of one application: who records its requests, and what its views are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import CollectorRegistry

from .. import forking, mistakes
from ..families.children import NumberChild
from ..families.kinds import GaugeFamily, HistogramFamily, SummaryFamily
from ..families.problems import Problems, logger
from ..labels.exemplars import ExemplarReader
from ..labels.plan import LabelPlan
from .views import targets

if TYPE_CHECKING:
    from ..defaults.websockets import WebsocketMetrics
    from .exchange import Exchange

__all__ = ["METHODS", "OTHER", "Recorder", "Site", "standard_method"]

OTHER = "<other>"
"""The method label of every method that HTTP does not define."""

METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
)
"""The methods that HTTP defines: RFC 9110, section 9, and PATCH of RFC 5789."""


def standard_method(method: str) -> str:
    """Return a method that HTTP defines, `<other>` for one that a client invented."""
    return method if method in METHODS else OTHER


class Recorder(Protocol):
    """Turns exchanges into numbers: the default metrics of one metrics object."""

    plan: LabelPlan
    exemplar: ExemplarReader | None
    problems: Problems
    duration: HistogramFamily | SummaryFamily
    excludes: Callable[[str], bool] | None
    in_progress: GaugeFamily | None
    needs_scheme: bool
    """Whether the scheme of a request is a label of `in_progress`, next to its method."""
    measures_sizes: bool
    measures_body: bool
    websockets: WebsocketMetrics | None

    record: Callable[[Exchange, float], None]
    """Records a request that has ended and of which nothing is special; never raises."""

    def record_specially(self, exchange: Exchange, seconds: float) -> None:
        """Record any request that has ended; never raise."""

    def occupied(self, request: Any) -> NumberChild:
        """Return the child of `in_progress` that counts a request."""

    def adopt(self, other: Recorder) -> None:
        """Record what another recorder of the same duration family would."""


class Site:
    """One application: who records its requests, and which functions are its views.

    `app` is a Flask or a Quart application: both name `view_functions` and `response_class` alike.
    `protocol` reads the protocol of a request as the framework spells it: `HTTP/1.1` or `1.1`.
    """

    def __init__(
        self,
        app: Any,
        clock: Callable[[], float],
        protocol: Callable[[Any], str],
        problems: Problems,
    ) -> None:
        self.app = app
        self.clock = clock
        self.protocol = protocol
        self.problems = problems
        """Where it is told what went wrong with a request, whoever records it."""
        self.recorders: tuple[Recorder, ...] = ()
        self.record: Callable[[Exchange, float], None] = _record_nothing
        """Has every recorder record a request of which nothing is special."""
        self.constant = True
        """Whether no recorder has a label to resolve or an exemplar to read."""
        self.owners: list[object] = []
        """The metrics objects that measure this application."""
        self.served: dict[str, tuple[str, CollectorRegistry]] = {}
        """The paths that promweb serves, as what, and whose metrics."""
        self.endpoints: set[str] = set()
        """The endpoints of these paths; no metric sees them, and no decorator is applied."""
        self.decorators: list[Callable[[Any], Any]] = []
        """What `register_default` wants around every view."""
        self.checked = False
        """Whether it was looked, at the first request, for decorators that no route has."""
        self.watches = True
        """Whether an exchange has something to do when it arrives."""
        self.measures_sizes = False
        """Whether a recorder wants the sizes of bodies."""
        self.measures_body = False
        """Whether a recorder wants to know when and how much of a body is sent."""
        self.receivers: list[object] = []
        """Signal receivers that live as long as the application; signals hold them weakly."""
        self.gauges: dict[str, tuple[NumberChild, ...]] = {}
        """What counts requests of a method as in progress."""
        self._decorated: dict[str, tuple[object, int]] = {}
        self._views: dict[str, tuple[object, frozenset[int]]] = {}

    def add(self, recorder: Recorder) -> None:
        """Have a recorder see every request that begins from now on.

        Two with the same duration family would count every request twice: they become one.
        """
        for known in self.recorders:
            if known.duration is recorder.duration:
                known.adopt(recorder)
                break
        else:
            self.recorders = (*self.recorders, recorder)
        self.record = self.recorders[0].record if len(self.recorders) == 1 else self._record_all
        self.constant = all(
            recorder.plan.constant and recorder.exemplar is None for recorder in self.recorders
        )
        self.measures_sizes = any(recorder.measures_sizes for recorder in self.recorders)
        self.measures_body = any(recorder.measures_body for recorder in self.recorders)
        self._watch()

    def add_decorators(self, decorators: Iterable[Callable[[Any], Any]]) -> None:
        """Put decorators around every view, those added later included."""
        self.decorators.extend(decorators)
        self._watch()

    def find_gauges(self, request: Any) -> tuple[NumberChild, ...]:
        """Return what counts a request as in progress; keep it, if that may be, in `gauges`."""
        gauges = self.gauges  # a recorder that is added meanwhile begins new ones
        found, kept = [], request.method in METHODS  # clients invent methods
        for recorder in self.recorders:
            if recorder.in_progress is not None:
                kept = kept and recorder.excludes is None and not recorder.needs_scheme
                if recorder.excludes is None or not recorder.excludes(request.path):
                    found.append(recorder.occupied(request))
        children = tuple(found)
        if kept:
            gauges[request.method] = children
        return children

    def check(self) -> None:
        """Look for decorators that no route has, now that all routes should be there."""
        self.checked = True
        self._watch()
        try:
            for message in mistakes.misplaced(self.app.view_functions):
                logger.warning("%s %s", message, mistakes.BELOW)
        except Exception:
            logger.exception("promweb could not look at the views; requests are not affected.")

    def _watch(self) -> None:
        self.gauges = {}
        gauges = any(recorder.in_progress for recorder in self.recorders)
        more = gauges or bool(self.decorators) or not self.constant
        self.watches = more or not self.checked

    def record_specially(self, exchange: Exchange, seconds: float) -> None:
        """Have every recorder record a request of which something is special."""
        for recorder in self.recorders:
            recorder.record_specially(exchange, seconds)

    def _record_all(self, exchange: Exchange, seconds: float) -> None:
        for recorder in self.recorders:
            recorder.record(exchange, seconds)

    def decorate(self, endpoint: str) -> None:
        """Put the decorators of `register_default` around the view of an endpoint, each once.

        Called when a request for it arrives, so that it covers views added at any time.
        """
        views = self.app.view_functions
        if endpoint in self.endpoints or endpoint not in views:
            return
        with forking.definitions:
            view = views[endpoint]
            known, done = self._decorated.get(endpoint, (view, 0))
            if known is not view:  # the application replaced it
                done = 0
            for decorator in self.decorators[done:]:
                try:
                    view = decorator(view)
                except Exception:
                    self.problems.failed(f"put a decorator around the view {endpoint!r}")
            views[endpoint] = view
            self._decorated[endpoint] = view, len(self.decorators)

    def make_response(self, status: int) -> object:
        """Return a response to show to label callables when the application made none.

        None where the application's class cannot be made like that.
        """
        try:
            return self.app.response_class(status=status)
        except Exception:
            self.problems.failed("make a response for labels to look at")
            return None

    def targets(self, endpoint: str) -> frozenset[int]:
        """Return the `id` of each function that the view function of an endpoint finally calls.

        That is: reachable from it over `__wrapped__`, or a method of its `view_class`.
        """
        function = self.app.view_functions.get(endpoint)
        known = self._views.get(endpoint)
        if known is None or known[0] is not function:
            # The function keeps alive what the ids stand for.
            known = self._views[endpoint] = (function, frozenset(map(id, targets(function))))
        return known[1]


def _record_nothing(exchange: Exchange, seconds: float) -> None:
    """Record for nobody: the application has no default metrics."""
