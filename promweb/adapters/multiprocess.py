"""The classes of prometheus_flask_exporter.multiprocess, for programs that use them.

With `PROMETHEUS_MULTIPROC_DIR` set, `PrometheusMetrics` alone is enough. These classes differ in
where they serve metrics: some only on a port of their own, in one process that they choose.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from ..core import forking
from ..core.families.problems import logger
from ..core.families.storage import shared_directory
from ..multiprocess.setup import mark_process_dead
from ..server.http import MetricsServer
from .flask import PrometheusMetrics

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..core.arguments import OtherArguments

__all__ = [
    "GunicornInternalPrometheusMetrics",
    "GunicornPrometheusMetrics",
    "MultiprocessInternalPrometheusMetrics",
    "MultiprocessPrometheusMetrics",
    "UWsgiPrometheusMetrics",
]

_ANYWHERE = "/metrics"


class MultiprocessPrometheusMetrics(PrometheusMetrics):
    """Metrics of several processes, served on a port of their own by one of them.

    Override `should_start_http_server` to choose the process, and call `start_http_server` in each.
    The application serves no metrics unless `register_endpoint` is called, so `path` is ignored.
    Without `registry` it makes a new one. Raises ValueError if multiprocess mode is off.

        metrics = MultiprocessPrometheusMetrics(app)
        metrics.start_http_server(9100)
    """

    _shows_all_registries = True

    def __init__(
        self, app: Any = None, path: str | None = None, **kwargs: Unpack[OtherArguments]
    ) -> None:
        self._check_mode()
        kwargs.setdefault("registry", CollectorRegistry())
        super().__init__(app, self._served_path(path), **kwargs)

    @classmethod
    def _check_mode(cls) -> None:
        if shared_directory() is None:
            raise ValueError(
                f"{cls.__name__} needs multiprocess mode, which is off: set the environment "
                "variable PROMETHEUS_MULTIPROC_DIR to a directory before the program starts"
            )

    def _served_path(self, path: str | None) -> str | None:
        """Return the path at which the application itself serves the metrics."""
        return None

    def should_start_http_server(self) -> bool:
        """Tell whether this process serves the metrics; override it.

        For example:

            class Metrics(MultiprocessPrometheusMetrics):
                def should_start_http_server(self):
                    return os.environ["WORKER"] == "1"
        """
        return False

    def start_http_server(  # type: ignore[override]  # None if another process serves
        self,
        port: int,
        host: str = "0.0.0.0",
        endpoint: str | None = None,
        ssl: dict[str, str] | None = None,
    ) -> MetricsServer | None:
        """Serve the metrics of all processes if this process should; otherwise do nothing.

        The server answers at every path, whatever `endpoint` is, like the exporter's. It waits for
        a port that is taken.

            metrics.start_http_server(9100)
        """
        if not self.should_start_http_server():
            return None
        return super().start_http_server(port, host, _ANYWHERE, ssl)

    def _server_app(self, endpoint: str) -> Callable[..., Any]:
        app = super()._server_app(endpoint)
        return lambda environ, start_response: app(
            {**environ, "PATH_INFO": endpoint}, start_response
        )


class MultiprocessInternalPrometheusMetrics(MultiprocessPrometheusMetrics):
    """Metrics of several processes, served by the application, as `PrometheusMetrics` does.

    For example:

        metrics = MultiprocessInternalPrometheusMetrics(app)
    """

    def __init__(
        self, app: Any = None, path: str | None = "/metrics", **kwargs: Unpack[OtherArguments]
    ) -> None:
        super().__init__(app, path, **kwargs)

    def _served_path(self, path: str | None) -> str | None:
        return path

    @classmethod
    def start_http_server_when_ready(
        cls, port: int, host: str = "0.0.0.0", *_positional: Any, **_arguments: Any
    ) -> None:
        """Warn: the application serves the metrics.

        For example:

            MultiprocessInternalPrometheusMetrics.start_http_server_when_ready(9100)  # warns
        """
        _warn_internal(cls)


class UWsgiPrometheusMetrics(MultiprocessPrometheusMetrics):
    """Metrics of the workers of uWSGI, served on a port of their own by the first worker.

    uWSGI needs the options `master` and `enable-threads`. The exporter serves from uWSGI's master,
    which forks workers while threads run, so a new worker could hang.

        metrics = UWsgiPrometheusMetrics(app)
        metrics.start_http_server(9100)
    """

    def should_start_http_server(self) -> bool:
        """Tell whether this is the process that serves the metrics.

        For example:

            metrics.should_start_http_server()  # True in the first worker
        """
        return bool(_uwsgi().worker_id() == 1)

    def start_http_server(  # type: ignore[override]  # as above
        self,
        port: int,
        host: str = "0.0.0.0",
        endpoint: str | None = None,
        ssl: dict[str, str] | None = None,
    ) -> MetricsServer | None:
        """Serve the metrics from the first worker, even if the master loads the application.

        A failure is logged; uWSGI starts the worker anyway.

            metrics.start_http_server(9100)
        """
        uwsgi = _uwsgi()
        start = super().start_http_server

        def start_in_worker() -> None:
            if os.getppid() == uwsgi.masterpid():  # not a child of a worker
                try:
                    start(port, host, endpoint, ssl)
                except OSError as error:
                    logger.error("The metrics cannot be served on port %d: %s", port, error)

        if os.getpid() == uwsgi.masterpid():
            forking.in_child(start_in_worker)
            return None
        return start(port, host, endpoint, ssl)


def _uwsgi() -> Any:
    """Return the module that exists only inside uWSGI."""
    try:
        return import_module("uwsgi")
    except ImportError as error:
        raise RuntimeError(
            "UWsgiPrometheusMetrics serves metrics only inside uWSGI, and this is not uWSGI; "
            "PrometheusMetrics works everywhere"
        ) from error


class GunicornPrometheusMetrics(MultiprocessPrometheusMetrics):
    """Metrics of Gunicorn's workers, served on a port of their own by its first process.

    In Gunicorn's configuration file:

        def when_ready(server):
            GunicornPrometheusMetrics.start_http_server_when_ready(9100)

        def child_exit(server, worker):
            GunicornPrometheusMetrics.mark_process_dead_on_child_exit(worker.pid)
    """

    def should_start_http_server(self) -> bool:
        """Tell whether this is the process that serves the metrics.

        For example:

            metrics.should_start_http_server()  # True
        """
        return True

    @classmethod
    def start_http_server_when_ready(
        cls,
        port: int,
        host: str = "0.0.0.0",
        ssl: dict[str, str] | None = None,
        **arguments: Unpack[OtherArguments],
    ) -> None:
        """Serve the metrics of all workers; for `when_ready`.

        The process that calls it has not loaded the application, so `arguments` repeats those of
        the constructor that matter to scrapes, such as `metrics_decorator` and `process_metrics`.

            def when_ready(server):
                GunicornPrometheusMetrics.start_http_server_when_ready(
                    9100, metrics_decorator=bearer_token(os.environ["METRICS_TOKEN"])
                )
        """
        GunicornPrometheusMetrics(**arguments).start_http_server(port, host, ssl=ssl)

    @classmethod
    def mark_process_dead_on_child_exit(cls, pid: int) -> None:
        """Compact the files of a worker that has ended; for `child_exit`.

        For example:

            def child_exit(server, worker):
                GunicornPrometheusMetrics.mark_process_dead_on_child_exit(worker.pid)
        """
        mark_process_dead(pid)


class GunicornInternalPrometheusMetrics(GunicornPrometheusMetrics):
    """Metrics of Gunicorn's workers, served by the application, as `PrometheusMetrics` does.

    For example:

        metrics = GunicornInternalPrometheusMetrics(app)
    """

    def __init__(
        self, app: Any = None, path: str | None = "/metrics", **kwargs: Unpack[OtherArguments]
    ) -> None:
        super().__init__(app, path, **kwargs)

    def _served_path(self, path: str | None) -> str | None:
        return path

    def should_start_http_server(self) -> bool:
        """Return False: the application serves the metrics.

        For example:

            metrics.should_start_http_server()  # False
        """
        return False

    @classmethod
    def start_http_server_when_ready(
        cls,
        port: int,
        host: str = "0.0.0.0",
        *_positional: Any,
        **_arguments: Any,
    ) -> None:
        """Warn: the application serves the metrics.

        For example:

            GunicornInternalPrometheusMetrics.start_http_server_when_ready(9100)  # warns
        """
        _warn_internal(cls)


def _warn_internal(cls: type) -> None:
    warnings.warn(
        f"{cls.__name__} makes the application serve the metrics, so start_http_server_when_ready "
        f"does nothing; {cls.__name__.replace('Internal', '')} serves them on their own port",
        UserWarning,
        stacklevel=3,
    )
