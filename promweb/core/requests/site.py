"""One application: its recorders, its views, and the routes that promweb adds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from .. import forking
from ..families.children import NumberChild
from ..families.problems import Problems
from .recorder import Recorder
from .views import Exclude, exclusion, targets

__all__ = ["Site"]


class Site:
    """One Flask or Quart application, as promweb sees it.

    Adding a recorder or a decorator composes the work for a request: `preparations` are called when
    a request reaches the dispatch, and `labelled` are the recorders that have labels to resolve.
    `protocol` reads the protocol of a request as the framework spells it: `HTTP/1.1` or `1.1`.
    `header_reader` returns a function of a request, which returns the first of some headers that
    the request has, or "".
    """

    def __init__(
        self,
        app: Any,
        clock: Callable[[], float],
        protocol: Callable[[Any], str],
        header_reader: Callable[[Sequence[str]], Callable[[Any], str]],
        problems: Problems,
    ) -> None:
        self.app = app
        self.clock = clock
        self.protocol = protocol
        self.header_reader = header_reader
        self.problems = problems
        """Counts and logs problems with requests, for all recorders."""
        self.recorders: tuple[Recorder, ...] = ()
        self.labelled: tuple[Recorder, ...] = ()
        """The recorders that have a label to resolve or an exemplar to read."""
        self.preparations: tuple[Callable[[Any], None], ...] = ()
        """The functions to call with a scope that reaches the application's dispatch."""
        self.awaiting: tuple[Recorder, ...] = ()
        """The recorders that await the labels of requests in progress."""
        self.record: Callable[[Any, float], None] = self._record_all
        """Records a request that has ended, in every recorder."""
        self.needs_sizes = False
        """Whether a recorder wants the sizes of bodies."""
        self.owners: list[object] = []
        """The metrics objects that measure this application."""
        self.endpoints: set[str] = set()
        """The endpoints that promweb serves; no metric sees them."""
        self.receivers: list[object] = []
        """Signal receivers that live as long as the application; signals hold them weakly."""
        self.served: dict[str, tuple[str, CollectorRegistry]] = {}
        """The kind of page that promweb serves at a path, and its registry."""
        self._decorators: list[Callable[[Any], Any]] = []
        """The decorators that `register_default` puts around every view."""
        self._decorated: dict[str, tuple[object, int]] = {}
        self._views: dict[str, tuple[object, frozenset[int]]] = {}
        self._exclusions: dict[tuple[str, str], tuple[object, Exclude | None]] = {}

    def add(self, recorder: Recorder) -> None:
        """Make a recorder see every request that begins from now on.

        Two with the same duration family would count every request twice: they become one.
        """
        with forking.definitions:
            for known in self.recorders:
                if known.identity is recorder.identity:
                    known.merge(recorder)
                    break
            else:
                recorders = (*self.recorders, recorder)
                self.recorders = tuple(sorted(recorders, key=lambda recorder: recorder.comes_last))
            self.labelled = tuple(
                recorder
                for recorder in self.recorders
                if not recorder.plan.constant or recorder.exemplar is not None
            )
            self.needs_sizes = any(recorder.needs_sizes for recorder in self.recorders)
            self._compose()

    def add_decorators(self, decorators: Iterable[Callable[[Any], Any]]) -> None:
        """Put decorators around every view, including views added later."""
        with forking.definitions:
            self._decorators.extend(decorators)
            self._compose()

    def _compose(self) -> None:
        preparations: list[Callable[[Any], None]] = []
        if self._decorators:
            preparations.append(self.decorate_view)
        if self.labelled:
            preparations.append(_keep_context)
        self.awaiting = tuple(r for r in self.recorders if r.awaits_in_progress)
        if any(r.counts_in_progress and r not in self.awaiting for r in self.recorders):
            preparations.append(self._count_in_progress)
        for recorder in self.recorders:
            preparations.extend(recorder.preparations(self))
        self.preparations = tuple(preparations)
        one = len(self.recorders) == 1
        self.record = self.recorders[0].record if one else self._record_all

    def _record_all(self, exchange: Any, seconds: float) -> None:
        for recorder in self.recorders:
            recorder.record(exchange, seconds)

    def record_steps(self, exchange: Any) -> None:
        """Have every recorder record what a request that goes on did in the event loop."""
        for recorder in self.recorders:
            recorder.record_steps(exchange)

    def _count_in_progress(self, scope: Any) -> None:
        if scope.tracked:
            for recorder in self.recorders:
                if recorder not in self.awaiting:
                    _count(scope, recorder.in_progress(scope.request))

    async def count_in_progress(self, scope: Any) -> None:
        """Count a request as in progress where the labels are awaited; the dispatch was reached."""
        if not scope.tracked:
            return
        try:
            for recorder in self.awaiting:
                _count(scope, await recorder.in_progress_async(scope.request))
        except Exception:
            self.problems.failed("prepare a request")

    def exclude(self, scope: Any) -> None:
        """Exclude a request from metrics if its view asks for that; the view need not run."""
        endpoint = scope.request.url_rule.endpoint
        if endpoint in self.endpoints:
            scope.exclude_all()
        else:
            exclude = self._exclusion(endpoint, scope.request.method)
            if exclude is not None:
                exclude(scope)

    def _exclusion(self, endpoint: str, method: str) -> Exclude | None:
        """Return the function that excludes a view's requests with a method, or None."""
        view = self.app.view_functions.get(endpoint)
        known = self._exclusions.get((endpoint, method))
        if known is None or known[0] is not view:
            known = self._exclusions[endpoint, method] = (view, exclusion(view, method))
        return known[1]

    def handles_errors(self, target: object) -> bool:
        """Return whether an error handler of the application finally calls a function."""
        handlers = (
            handler
            for by_code in self.app.error_handler_spec.values()
            for by_class in by_code.values()
            for handler in by_class.values()
        )
        return any(found is target for handler in handlers for found in targets(handler))

    def decorate_view(self, scope: Any) -> None:
        """Put the decorators of `register_default` around the view of a request, each once.

        Done when a request arrives, so that it covers views added at any time.
        """
        rule, views = scope.request.url_rule, self.app.view_functions
        if rule is None or rule.endpoint not in views:
            return
        endpoint = rule.endpoint
        with forking.definitions:
            view = views[endpoint]
            known, done = self._decorated.get(endpoint, (view, 0))
            if not any(found is known for found in targets(view)):  # it is another view now
                done = 0
            for decorator in self._decorators[done:]:
                try:
                    view = decorator(view)
                except Exception:
                    self.problems.failed(f"put a decorator around the view {endpoint!r}")
            views[endpoint] = view
            self._decorated[endpoint] = view, len(self._decorators)

    def serve(self, path: str, what: str, registry: CollectorRegistry, view: Any) -> None:
        """Add a route that no metric sees, unless the same is served at `path` already.

        `view` is called to make the view. Raises ValueError if promweb serves something else there.
        """
        with forking.definitions:
            self._serve(path, what, registry, view)

    def _serve(self, path: str, what: str, registry: CollectorRegistry, view: Any) -> None:
        served = self.served.get(path)
        if served == (what, registry):
            return
        if served is not None:
            whose = "this" if served[1] is registry else "another"
            raise ValueError(
                f"path={path!r} of this application already serves the {served[0]} of {whose} "
                "registry; give one of the two another path"
            )
        app = self.app
        made = view()
        endpoint = f"prometheus_{what}"
        while endpoint in app.view_functions:
            endpoint += "_"
        try:
            for host in _hosts(app):
                app.add_url_rule(path, endpoint, made, **host)
        except AssertionError as error:  # Flask raises it once it has served a request
            raise RuntimeError(
                f"path={path!r}: the application has served a request and takes no more routes. "
                "Make the metrics object, or call init_app, before; or pass path=None and serve "
                "the metrics with start_http_server(port)"
            ) from error
        self.served[path] = what, registry
        self.endpoints.add(endpoint)

    def make_response(self, status: int) -> object:
        """Return a response to show to label callables when the application made none.

        None if the application's class cannot be called like that.
        """
        try:
            return self.app.response_class(status=status)
        except Exception:
            self.problems.failed("make a response for labels to look at")
            return None

    def targets(self, endpoint: str) -> frozenset[int]:
        """Return the `id` of each function that the view function of an endpoint finally calls.

        These are reachable from it over `__wrapped__`, or methods of its `view_class`.
        """
        function = self.app.view_functions.get(endpoint)
        known = self._views.get(endpoint)
        if known is None or known[0] is not function:
            # Keeping the function keeps its ids valid.
            known = self._views[endpoint] = (function, frozenset(map(id, targets(function))))
        return known[1]


def _count(scope: Any, child: NumberChild | None) -> None:
    if child is not None:
        child.inc()
        scope.hold(child)


def _keep_context(scope: Any) -> None:
    scope.keep_context()


def _hosts(app: Any) -> list[dict[str, str]]:
    """Return options that make a rule match at every host: scrapers use addresses."""
    if app.url_map.host_matching:
        return [{"host": "<promweb_host>"}]
    if app.subdomain_matching:  # another host is matched like an odd subdomain
        return [{"subdomain": ""}, {"subdomain": "<promweb_host>"}]
    return [{}]
