"""What the adapters of all frameworks have in common, beyond the core: a server of their own."""

from __future__ import annotations

import errno
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from ssl import SSLContext
from typing import Any

from ..core.families.catalog import Catalog
from ..core.families.problems import logger
from ..core.families.storage import Storage, shared_directory
from ..core.metrics import MetricsBase
from ..core.requests.exchange import Exchange
from ..core.requests.scope import current
from ..core.requests.site import Site
from ..deployment import SEVERAL, is_one_of_several, problems
from ..server.http import MetricsServer, serve
from . import uwsgi as uwsgi  # loaded for what it does

__all__ = ["WebMetrics", "find_exchange"]


class WebMetrics(MetricsBase):
    """Metrics that can be served from a port of their own, and be those of several processes."""

    @staticmethod
    def _storage() -> Storage | None:
        directory = shared_directory()
        if directory is None:
            return None
        from ..multiprocess.setup import storage_of  # only who needs it loads it

        return storage_of(directory)

    def init_app(self, app: Any) -> None:
        """Measure an application; doing so again for the same one changes nothing."""
        super().init_app(app)
        for problem in problems(
            directory=shared_directory() if Catalog.is_shared(self.registry) else None,
            serves=self.path is not None,
        ):
            self._catalog.problems.warn(problem)

    def _see_environ(self, environ: Mapping[str, Any]) -> None:
        """Look at how the server says that it serves, when it asks for the metrics."""
        if is_one_of_several(environ) and not Catalog.is_shared(self.registry):
            self._catalog.problems.warn(SEVERAL)

    def start_http_server(
        self,
        port: int,
        host: str = "0.0.0.0",
        endpoint: str = "/metrics",
        ssl: Mapping[str, str] | SSLContext | None = None,
    ) -> MetricsServer:
        """Serve the metrics from a thread and a port of their own, and nothing else there.

        `port` 0 takes a free one; the object returned has `port`, `url` and `close()`. `ssl` is a
        dictionary of paths: `cert`, `key`, and `client_ca` where clients have to show a
        certificate; or a server's `ssl.SSLContext`. `metrics_decorator` applies here as well.
        Raises `OSError` if the port is taken; under Flask's reloader, whose parent process has it
        then, a free one is taken and logged.
        """
        app = self._server_app(endpoint)
        try:
            return serve(app, port, host, endpoint, ssl)
        except OSError as error:
            reloaded = os.environ.get("WERKZEUG_RUN_MAIN") == "true"
            if error.errno != errno.EADDRINUSE or not reloaded:
                raise
            server = serve(app, 0, host, endpoint, ssl)
            logger.warning(
                "Port %d is taken, by the process that Flask's reloader watches from it seems; "
                "the metrics are at %s.",
                port,
                server.url,
            )
            return server

    @abstractmethod
    def _server_app(self, endpoint: str) -> Callable[..., Any]:
        """Return a WSGI application that serves the metrics at `endpoint`."""


def find_exchange(site: Site, get_request: Callable[[], Any]) -> Exchange | None:
    """Return the exchange of the current request; None for a request context made by hand."""
    exchange: Any = current.get()
    if exchange is None or exchange.site is not site:
        return None
    request = get_request()
    if exchange.request is None:
        exchange.dispatch(request)  # opening the session or matching the route failed
    return exchange if exchange.request is request else None
