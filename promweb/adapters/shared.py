"""What the adapters of all frameworks have in common, beyond the core: a server of their own."""

from __future__ import annotations

import errno
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from ssl import SSLContext
from typing import Any

from ..core.exchange import Exchange, current
from ..core.metrics import MetricsBase
from ..core.problems import logger
from ..core.site import Site
from ..core.storage import Storage, shared_directory
from ..server import MetricsServer, serve

__all__ = ["WebMetrics", "announced_size", "find_exchange"]


class WebMetrics(MetricsBase):
    """Metrics that can be served from a port of their own, and be those of several processes."""

    @staticmethod
    def _storage() -> Storage | None:
        directory = shared_directory()
        if directory is None:
            return None
        from ..multiprocess.setup import storage_of  # only who needs it loads it

        return storage_of(directory)

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


def announced_size(content_length: str | bytes) -> int | None:
    """Return the number in a Content-Length header; None where it is none, or no sane one."""
    if content_length.isdigit() and len(content_length) < 20:
        return int(content_length)
    return None


def find_exchange(site: Site, get_request: Callable[[], Any]) -> Exchange | None:
    """Return the exchange of the current request; None for a request context made by hand."""
    exchange: Any = current.get()
    if exchange is None or exchange.site is not site:
        return None
    request = get_request()
    if exchange.request is None:
        exchange.request = request  # opening the session or matching the route failed
        if site.watches:
            exchange.reach()
    return exchange if exchange.request is request else None
