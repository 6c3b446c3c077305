"""What an application serves of the metrics: scrapes and the live page, at paths of its own."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry

from . import mistakes, options
from .exposition import scrape
from .families.catalog import Catalog
from .requests.site import Site

__all__ = ["Endpoints"]


class Endpoints(ABC):
    """The methods of a metrics object that add routes."""

    path: str | None
    registry: CollectorRegistry
    metrics_decorator: Callable[[Any], Any] | None
    _catalog: Catalog
    _unchecked: list[weakref.ref[Site]]
    """The applications whose routes the first scrape looks at."""

    def register_endpoint(self, path: str, app: Any = None) -> None:
        """Serve the metrics at `path` of an application (this object's, or the current one).

        Serving the same registry at the same path twice changes nothing. Raises ValueError if
        promweb serves something else there.
        """
        self._serve("metrics", self._metrics_view, path, app)

    def register_dashboard(self, path: str, app: Any = None) -> None:
        """Serve a page for browsers that shows the metrics as they change, every two seconds.

        The page requests nothing but `path`, with a query: `metrics_decorator` protects all of it.
        No metric counts it. Raises ValueError if promweb serves something else there.
        """
        self._serve("dashboard", self._dashboard_view, path, app)

    def _serve(
        self, what: str, make_view: Callable[[], Callable[..., Any]], path: str, app: Any
    ) -> None:
        """Add a protected route that no metric sees."""
        options.read_path(path)
        site = self._site(self._app(app))
        mistakes.warn_of_route(site, path, self._catalog.problems)
        site.serve(path, what, self.registry, lambda: self._protected(make_view()))

    def _scrape(self, accept: str | None, accept_encoding: str | None, *args: Any) -> scrape.Scrape:
        """Answer a scrape of the registry; the arguments are those of `scrape.answer`."""
        while self._unchecked:  # all routes should be there by the first scrape
            mistakes.warn_of_routes(self._unchecked.pop()(), self.path, self._catalog.problems)
        return scrape.answer(self.registry, accept, accept_encoding, *args)

    def _protected(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Return the metrics view as `metrics_decorator` decorates it."""
        view.__module__ = "promweb"  # extensions exempt views by module and name
        if self.metrics_decorator is None:
            return view
        protected: Callable[..., Any] = self.metrics_decorator(view)
        if not callable(protected):
            raise TypeError(
                f"metrics_decorator={self.metrics_decorator!r} returned {protected!r}: a decorator "
                "returns the function that is to be called instead"
            )
        return protected

    @abstractmethod
    def _app(self, app: Any) -> Any:
        """Return the application given, this object's, or the current one."""

    @abstractmethod
    def _site(self, app: Any) -> Site:
        """Return what promweb knows of an application, attaching to it when it is new."""

    @abstractmethod
    def _metrics_view(self) -> Callable[..., Any]:
        """Return a view that answers a scrape of the registry."""

    @abstractmethod
    def _dashboard_view(self) -> Callable[..., Any]:
        """Return a view that answers with the live page, its files, or a scrape."""
