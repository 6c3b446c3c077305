"""The methods of a metrics object for applications: routes, scrapes, decorators of all views."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from . import forking, mistakes, options
from .defaults.callbacks import Callback, RequestCallbacks, RequestInfo, check_callback
from .defaults.naming import naming_of
from .exposition import scrape
from .factories import InstrumentFactories
from .families.storage import Storage
from .options import Options
from .requests.site import Site

__all__ = ["Applications"]

CallbackT = TypeVar("CallbackT", bound=Callable[[RequestInfo], object])


class Applications(InstrumentFactories):
    """The methods of a metrics object that concern applications."""

    app: Any
    registry: CollectorRegistry
    metrics_decorator: Callable[[Any], Any] | None
    path: str | None
    _measured: list[tuple[weakref.ref[Site], str | None]]
    """The applications that this object measures, or blueprints in them."""
    _unchecked: list[weakref.ref[Site]]
    _groups_unasked: bool
    """Whether the default metrics group by path without the program's asking for it."""
    _callbacks: list[Callback]
    """The functions given to `on_request`."""

    def register_endpoint(self, path: str, app: Any = None) -> None:
        """Serve the metrics at `path` of an application (this object's, or the current one).

        Serving the same registry at the same path twice changes nothing. Raises ValueError if
        promweb serves something else there.

            metrics.register_endpoint("/internal/metrics")
        """
        self._serve("metrics", self._metrics_view, path, app)

    def register_dashboard(self, path: str, app: Any = None) -> None:
        """Serve a page for browsers that shows the metrics as they change, every two seconds.

        The page requests only `path`, with a query, so `metrics_decorator` protects all of it. No
        metric counts it. Raises ValueError if promweb serves something else there.

            metrics.register_dashboard("/metrics/live")
        """
        self._serve("dashboard", self._dashboard_view, path, app)

    def _serve(
        self, what: str, make_view: Callable[[], Callable[..., Any]], path: str, app: Any
    ) -> None:
        """Add a protected route that no metric counts."""
        options.read_path(path)
        if self._disabled:
            return
        site = self._site(self._app(app))
        mistakes.warn_of_route(site, path, self._catalog.problems)
        site.serve(path, what, self.registry, lambda: self._protected(make_view()))

    def _scrape(self, accept: str | None, accept_encoding: str | None, *args: Any) -> scrape.Scrape:
        """Answer a scrape of the registry; the arguments are those of `scrape.answer`."""
        # All routes should exist by the first scrape.
        mistakes.warn_of_routes(
            self._unchecked, self.path, self._catalog.problems, self._groups_unasked
        )
        return scrape.answer(self.registry, accept, accept_encoding, *args)

    def register_default(self, *metric_wrappers: Callable[[Any], Any], app: Any = None) -> None:
        """Put decorators around every view of an application, including views added later.

        They see every request that matched a route, but not the metrics endpoint.

            by_method = {"method": lambda: request.method}
            metrics.register_default(metrics.counter("views", "Views", labels=by_method))
        """
        mistakes.check_decorators(metric_wrappers, Applications)
        if self._disabled:
            return
        self._site(self._app(app)).add_decorators(metric_wrappers)

    def on_request(self, callback: CallbackT) -> CallbackT:
        """Call a function after each request was recorded; return the function.

        It gets a `RequestInfo`. Use it where labels cannot express enough. It does not see requests
        that the default metrics exclude. Its exceptions are logged once. Keep it short: the
        request, on Quart the event loop, waits for it. Raises TypeError for a coroutine function,
        because nothing can be awaited where a request is recorded.

            @metrics.on_request
            def note_slow(info):
                if info.seconds > 1:
                    logging.warning("slow: %s %s", info.method, info.group)
        """
        check_callback(callback)
        with forking.definitions:
            self._callbacks.append(callback)
            for reference, blueprint in self._measured:
                site = reference()
                if site is not None:
                    self._show_requests(site, blueprint)
        return callback

    def _measure(self, site: Site, blueprint: str | None = None) -> None:
        """Note that this object measures an application, or a blueprint in it."""
        self._measured = [known for known in self._measured if known[0]() is not None]
        self._measured.append((weakref.ref(site), blueprint))
        if self._callbacks:
            self._show_requests(site, blueprint)

    def _show_requests(self, site: Site, blueprint: str | None) -> None:
        """Make the functions of `on_request` see the requests of an application or a blueprint."""
        site.add(
            RequestCallbacks(
                self._callbacks,
                self._options,
                naming_of(self._options).grouping,
                self._catalog.problems,
                coroutines=self._coroutines,
                blueprint=blueprint,
            )
        )

    def generate_metrics(
        self, accept_header: str | None = None, names: Sequence[str] | None = None
    ) -> tuple[str, str]:
        """Return the exposition and its content type.

        `accept_header` is an HTTP Accept header. `names` restricts to samples with these names, and
        to families: `orders_total` is a sample of the counter `orders`. Of a family that is
        named beside its own samples, only these samples are shown. The exposition is text, even
        for a header that prefers protobuf.

            text, content_type = metrics.generate_metrics(names=["orders_total"])
        """
        return scrape.render_text(self.registry, accept_header, names)

    def _protected(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Return the metrics view as `metrics_decorator` decorates it."""
        view.__module__ = "promweb"  # extensions exempt views by module and name
        if self.metrics_decorator is None:
            return view
        protected: Callable[..., Any] = self.metrics_decorator(view)
        if not callable(protected):
            raise TypeError(
                f"metrics_decorator={self.metrics_decorator!r} returned {protected!r}: a decorator "
                "must return a function to call instead"
            )
        return protected

    def _app(self, app: Any) -> Any:
        """Return the application given, this object's, or the current one."""
        if app is None:
            app = self.app
        return self._current_app() if app is None else app

    def _site(self, app: Any) -> Site:
        """Return promweb's `Site` of an application; attach to the application if it is new."""
        self._check_app(app)
        # A proxy like current_app stands for an application that outlives the proxy's context.
        app = getattr(app, "_get_current_object", lambda: app)()
        with forking.definitions:
            site: Site | None = app.extensions.get("promweb")
            if site is None:
                site = Site(
                    app, self.clock, self._protocol, self._header_reader, self._catalog.problems
                )
                app.extensions["promweb"] = site
                self._attach(site)
            return site

    def _storage(self) -> Storage | None:
        """Return the storage that this process shares with others; None if there is none."""
        return None

    @abstractmethod
    def _check_app(self, app: Any) -> None:
        """Raise `TypeError` for an application of another framework."""

    @abstractmethod
    def _current_app(self) -> Any:
        """Return the framework's current application; raise `RuntimeError` if there is none."""

    @abstractmethod
    def _attach(self, site: Site) -> None:
        """Turn the application's requests into exchanges of `site`."""

    @staticmethod
    @abstractmethod
    def _protocol(request: Any) -> str:
        """Return the protocol of a request in the framework's spelling."""

    @abstractmethod
    def _look_inside(self, site: Site, checked: Options, prefix: str) -> None:
        """Measure an application's event loop, threads and tasks, as far as that is asked for."""

    @staticmethod
    @abstractmethod
    def _header_reader(names: Sequence[str]) -> Callable[[Any], str]:
        """Return a function of a request: the first of these headers that it has, or ""."""

    @abstractmethod
    def _metrics_view(self) -> Callable[..., Any]:
        """Return a view that answers a scrape of the registry."""

    @abstractmethod
    def _dashboard_view(self) -> Callable[..., Any]:
        """Return a view that answers with the live page, its files, or a scrape."""
