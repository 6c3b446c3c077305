"""The common part of all frameworks' adapters beyond the core, such as a separate server."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from ssl import SSLContext
from typing import Any

from ..core.defaults.blueprint import BlueprintRecorder
from ..core.defaults.naming import naming_of
from ..core.families.catalog import Catalog
from ..core.families.problems import logger
from ..core.families.storage import Storage, shared_directory
from ..core.metrics import MetricsBase
from ..core.mistakes import explained
from ..core.options import read_path
from ..core.requests.exchange import ANSWERED, FAILED, Exchange
from ..core.requests.scope import get_scope, set_scope
from ..core.requests.site import Site
from ..deployment import (
    PRELOADED,
    SEVERAL,
    has_no_requests,
    is_one_of_several,
    problems,
    warn_once,
)
from ..server.http import MetricsServer, NoServer, serve
from ..server.ports import holder
from . import uwsgi as uwsgi  # importing it registers its hook

__all__ = ["WebMetrics", "by_hand", "find_exchange"]


_UNSEEN = (
    " Until then nothing shows its numbers. If that is another worker of the same service, set "
    "PROMETHEUS_MULTIPROC_DIR, so that one of them shows the numbers of all."
)


class WebMetrics(MetricsBase):
    """Metrics that can be served on a port of their own, and be shared by several processes."""

    _shows_all_registries = False
    """Whether the endpoint shows the numbers of all workers in all registries."""

    def _storage(self) -> Storage | None:
        directory = shared_directory()
        if directory is None:
            return None
        from ..multiprocess.setup import storage_of  # loaded only if it is needed

        storage = storage_of(directory)
        if storage is None:
            return None
        return storage.of_registry(
            self.registry,
            f"{getattr(self.app, 'name', '')!r}, path {self.path!r}, {self.defaults_prefix!r}",
            shows_all=self._shows_all_registries,
        )

    @explained
    def init_app(self, app: Any) -> None:
        """Measure an application; doing so again for the same one changes nothing.

        For a blueprint, this measures its own requests wherever it is registered, and serves the
        metrics at `path` below its prefix.

            metrics = PrometheusMetrics.for_app_factory()
            metrics.init_app(app)
        """
        if _is_blueprint(app):
            if not self._disabled:
                app.record(self._init_blueprint)
            return
        super().init_app(app)
        if self._disabled:
            return
        for problem in problems(
            directory=shared_directory() if Catalog.is_shared(self.registry) else None,
            serves=self.path is not None,
        ):
            warn_once(problem)

    def _init_blueprint(self, state: Any) -> None:
        """Measure a blueprint in the application that it is being registered with."""
        site, options, name = self._site(state.app), self._options, _registered_name(state)
        if self.path:
            self._serve_in_blueprint("metrics", self._metrics_view, self.path, state)
        if self._export_defaults:
            own = replace(options, websockets=False)
            naming, exemplar = naming_of(own), self._exemplar_reader()
            site.add(
                BlueprintRecorder(name, naming, own, coroutines=self._coroutines, exemplar=exemplar)
            )
            if own.looks_inside:
                self._look_inside(site, own, naming.prefix)
            self._catalog.problems.warn(
                f"{type(self).__name__} was given the blueprint {name!r}, so it does not measure "
                "requests for other routes, for none (404, 405), and websockets. Pass the "
                "application to measure all."
            )
        self._measure(site, name)
        if self not in site.owners:
            site.owners.append(self)

    def _serve(
        self, what: str, make_view: Callable[[], Callable[..., Any]], path: str, app: Any
    ) -> None:
        target = self.app if app is None else app
        if _is_blueprint(target):
            read_path(path)
            target.record(partial(self._serve_in_blueprint, what, make_view, path))
        else:
            super()._serve(what, make_view, path, app)

    def _serve_in_blueprint(
        self, what: str, make_view: Callable[[], Callable[..., Any]], path: str, state: Any
    ) -> None:
        """Add a protected route below the prefix of a blueprint that is being registered."""
        site, name = self._site(state.app), _registered_name(state)
        endpoint = f"prometheus_{what}"
        while f"{name}.{endpoint}" in state.app.view_functions:
            endpoint += "_"
        state.add_url_rule(path, endpoint, self._protected(make_view()))
        site.endpoints.add(f"{name}.{endpoint}")

    def _see_environ(self, environ: Mapping[str, Any]) -> None:
        """Check the server's description of itself when it asks for the metrics."""
        if is_one_of_several(environ) and not Catalog.is_shared(self.registry):
            warn_once(SEVERAL)

    @explained
    def start_http_server(
        self,
        port: int,
        host: str = "0.0.0.0",
        endpoint: str = "/metrics",
        ssl: Mapping[str, str] | SSLContext | None = None,
    ) -> MetricsServer:
        """Serve the metrics, and nothing else, from a thread and a port of their own.

        `port` 0 takes a free one; the returned object has `port`, `url` and `close()`. If another
        process has the port, the server logs that and waits for it. `ssl` is a dictionary of
        paths: `cert`, `key`, and `client_ca` if clients must show a certificate; or a server's
        `ssl.SSLContext`. `metrics_decorator` applies here as well. Under Flask's reloader, whose
        parent process keeps the port, the server takes a free one and logs it. Raises ValueError
        for a port or an `ssl` that cannot work, and OSError for a file or an address.

            server = metrics.start_http_server(9100)
            print(server.url)
        """
        if self._disabled:
            return NoServer(port)
        app = self._server_app(endpoint)
        server = serve(app, port, host, endpoint, ssl)
        if not Catalog.is_shared(self.registry) and has_no_requests():
            warn_once(PRELOADED.format(port=server.port))
        if not server.is_waiting:
            return server
        if os.environ.get("WERKZEUG_RUN_MAIN") == "true":
            server.close()
            server = serve(app, 0, host, endpoint, ssl)
            logger.warning(
                "Port %s is taken by %s, which is probably Flask's reloader; the metrics are at "
                "%s.",
                port,
                holder(port),
                server.url,
            )
            return server
        logger.warning(
            "Port %s is taken by %s; this process waits for the port, and then serves the metrics "
            "at %s.%s",
            port,
            holder(port),
            server.url,
            "" if Catalog.is_shared(self.registry) else _UNSEEN,
        )
        return server

    @abstractmethod
    def _server_app(self, endpoint: str) -> Callable[..., Any]:
        """Return a WSGI application that serves the metrics at `endpoint`."""


def _is_blueprint(app: Any) -> bool:
    """Tell whether this is a blueprint of Flask or Quart, without importing either."""
    return hasattr(type(app), "record_once")


def _registered_name(state: Any) -> str:
    """Return the name of the blueprint that is being registered, with those around it."""
    return f"{state.name_prefix}.{state.name}".lstrip(".")


def find_exchange(site: Site, get_request: Callable[[], Any]) -> Exchange | None:
    """Return the exchange of the current request; None for a request context made by hand."""
    exchange: Any = get_scope()
    if exchange is None or exchange.site is not site:
        return None
    request = get_request()
    if exchange.request is None:
        exchange.dispatch(request)  # opening the session or matching the route failed
    return exchange if exchange.request is request else None


@contextmanager
def by_hand(site: Site, kind: type[Exchange]) -> Iterator[None]:
    """Let decorators see a request context that was made by hand; nothing else records it.

    Its exchange waits for the dispatch.
    """
    outer = get_scope()
    exchange = kind.apart(site, outer)
    set_scope(exchange)
    outcome = FAILED
    try:
        yield
        outcome = ANSWERED
    finally:
        set_scope(outer)
        exchange.finish(outcome)
