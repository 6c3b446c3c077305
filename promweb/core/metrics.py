"""The public surface that `PrometheusMetrics` and `AsyncPrometheusMetrics` share."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Gauge

from . import forking, mistakes, options
from .defaults.naming import check_defaults, naming_of
from .defaults.recording import RequestRecorder
from .endpoints import Endpoints
from .exposition import scrape
from .factories import InstrumentFactories, LabelValue
from .families.catalog import Catalog
from .families.storage import Storage
from .options import NO_PREFIX, GroupBy, Naming, Options
from .requests.site import Site
from .version import __version__

__all__ = ["NO_PREFIX", "MetricsBase"]

F = TypeVar("F", bound=Callable[..., Any])
Self = TypeVar("Self", bound="MetricsBase")


class MetricsBase(InstrumentFactories, Endpoints):
    """Prometheus metrics of one or more web applications.

    The default metrics measure every request from when it reaches the application until its last
    byte is sent, in seconds. Arguments (each can be read back from the object under its name,
    with an underscore in front where a method has that name):

    * `app`: the application; None to call `init_app` later.
    * `path`: where the application serves the metrics; None for nowhere.
    * `export_defaults`: whether to record the default metrics.
    * `defaults_prefix`: what their names start with, followed by an underscore; `NO_PREFIX` for
      none.
    * `group_by`: what distinguishes routes: `path`, `endpoint`, `url_rule`, any other attribute
      of the request, or a named function of the request, whose name becomes the label.
    * `buckets`: upper bounds of the duration histogram, in seconds; prometheus_client's if None.
    * `default_latency_as_histogram`: False makes the duration a summary.
    * `default_labels`: labels for the default metrics and for every decorator, name to constant,
      callable without arguments, or callable of the response.
    * `response_converter`: accepted and not needed; labels see the final response.
    * `excluded_paths`: a regular expression or several; default metrics skip a path that one of
      them matches from its start. `exclude_user_defaults` has the decorators skip it too.
    * `metrics_decorator`: applied to the metrics view, for example to ask for a password.
    * `registry`: prometheus_client's global one if None, looked up now.
    * `max_series`: the most label sets of any family; more become `<overflow>`.
    * `in_progress`, `request_size`, `response_size`, `response_start`: further families, off
      unless asked for: requests in progress by method, sizes of bodies in bytes, and seconds to
      the first byte.
    * `websockets`: whether to measure websockets (Quart).
    * `exemplar`: what counters and histograms show as exemplars, in OpenMetrics only: labels that
      a function returns; True for the trace and span of OpenTelemetry's current span if it is
      sampled; False for none. None means True if the program has set up a tracer provider when
      `init_app` or a decorator is called, and False otherwise.
    * `naming`: whose names the default metrics have: `promweb` for those of this library, or
      `otel` for those of OpenTelemetry's semantic conventions, with their labels and buckets.
    * `status_classes`: whether `status` of the default metrics is `2xx`, `4xx` and so on.
    * `process_metrics`: whether scrapes show memory and more of each worker process by its `pid`.
    * `queue_time`: whether to measure how long requests waited before the application was called,
      by a header in which a proxy says when it took them: True for `X-Request-Start` and its
      relatives, or the name of another header. Clients can forge it.
    * `event_loop`: whether to measure who holds the event loop, and how late it is (Quart). Blocks
      of 0.1 s or more are logged; a number says from how many seconds on.
    * `threads`, `background_tasks`: whether to measure the threads in which plain views run, and
      what `add_background_task` was given (Quart).

    Raises ValueError or TypeError for what cannot work, naming the argument and the remedy.
    """

    app: Any
    path: str | None
    _export_defaults: bool
    defaults_prefix: str
    group_by: GroupBy
    buckets: Sequence[float | str] | None
    default_latency_as_histogram: bool
    default_labels: Mapping[str, object]
    response_converter: Callable[..., Any] | None
    excluded_paths: str | Iterable[str] | None
    exclude_user_defaults: bool
    metrics_decorator: Callable[[Any], Any] | None
    registry: CollectorRegistry
    max_series: int
    in_progress: bool
    request_size: bool
    response_size: bool
    response_start: bool
    websockets: bool
    exemplar: bool | Callable[[], Mapping[str, str] | None] | None
    naming: Naming
    status_classes: bool
    process_metrics: bool
    queue_time: bool | str
    event_loop: bool | float
    threads: bool
    background_tasks: bool
    version: str

    @mistakes.explained
    def __init__(
        self,
        app: Any,
        path: str | None = "/metrics",
        export_defaults: bool = True,
        defaults_prefix: str = "flask",
        group_by: GroupBy = "path",
        buckets: Sequence[float | str] | None = None,
        default_latency_as_histogram: bool = True,
        default_labels: Mapping[str, LabelValue] | None = None,
        response_converter: Callable[..., Any] | None = None,
        excluded_paths: str | Iterable[str] | None = None,
        exclude_user_defaults: bool = True,
        metrics_decorator: Callable[[Any], Any] | None = None,
        registry: CollectorRegistry | None = None,
        *,
        max_series: int = 1000,
        in_progress: bool = False,
        request_size: bool = False,
        response_size: bool = False,
        response_start: bool = False,
        websockets: bool = True,
        exemplar: bool | Callable[[], Mapping[str, str] | None] | None = None,
        naming: Naming = "promweb",
        status_classes: bool = False,
        process_metrics: bool = False,
        queue_time: bool | str = False,
        event_loop: bool | float = False,
        threads: bool = False,
        background_tasks: bool = False,
        static_labels: Mapping[str, LabelValue] | None = None,
        group_by_endpoint: bool | None = None,
    ) -> None:
        checked = Options(
            path=options.read_path(path),
            export_defaults=export_defaults,
            defaults_prefix=defaults_prefix or "flask",
            group_by=options.read_group_by(group_by, group_by_endpoint),
            buckets=options.read_buckets(buckets),
            default_latency_as_histogram=default_latency_as_histogram,
            default_labels=options.read_default_labels(default_labels, static_labels),
            excluded_paths=options.read_patterns(excluded_paths),
            exclude_user_defaults=exclude_user_defaults,
            metrics_decorator=options.read_decorator(metrics_decorator),
            registry=options.read_registry(registry),
            max_series=options.read_max_series(max_series),
            in_progress=options.read_flag("in_progress", in_progress),
            request_size=options.read_flag("request_size", request_size),
            response_size=options.read_flag("response_size", response_size),
            response_start=options.read_flag("response_start", response_start),
            websockets=options.read_flag("websockets", websockets),
            exemplar=exemplar,
            naming=options.read_naming(naming),
            status_classes=options.read_flag("status_classes", status_classes),
            process_metrics=options.read_flag("process_metrics", process_metrics),
            queue_time=options.read_header("queue_time", queue_time),
            event_loop=options.read_seconds("event_loop", event_loop),
            threads=options.read_flag("threads", threads),
            background_tasks=options.read_flag("background_tasks", background_tasks),
        )
        vars(self).update(vars(checked), excluded_paths=excluded_paths)
        self._export_defaults = vars(self).pop("export_defaults")  # the name of a method
        self.app = app
        self.response_converter = response_converter
        self.version = __version__
        self._options = checked
        self._catalog = Catalog.of(self.registry, self._storage())
        if self.process_metrics and self._catalog.storage is not None:
            self._catalog.storage.show_processes()
        self._unchecked: list[weakref.ref[Site]] = []
        self._exemplar_reader()
        self._check_defaults(checked)  # reported here, not when an app factory runs
        if app is not None:
            self.init_app(app)

    @classmethod
    def for_app_factory(cls: type[Self], **kwargs: Any) -> Self:
        """Create an object without an application; call `init_app` for each one later."""
        return cls(None, **kwargs)

    def init_app(self, app: Any) -> None:
        """Measure an application; doing so again for the same one changes nothing."""
        with forking.definitions:
            site = self._site(app)
            if self in site.owners:
                return
            if self.path:
                self.register_endpoint(self.path, app)
            if self._export_defaults:
                self._record_defaults(self._options, app)
            site.owners.append(self)
            self._unchecked.append(weakref.ref(site))

    @mistakes.explained
    def export_defaults(
        self,
        buckets: Sequence[float | str] | None = None,
        group_by: GroupBy = "path",
        latency_as_histogram: bool = True,
        prefix: str = "flask",
        app: Any = None,
        *,
        group_by_endpoint: bool | None = None,
    ) -> None:
        """Record the default metrics for an application (this object's, or the current one)."""
        changed = replace(
            self._options,
            buckets=options.read_buckets(buckets),
            group_by=options.read_group_by(group_by, group_by_endpoint),
            default_latency_as_histogram=latency_as_histogram,
            defaults_prefix=prefix or self.defaults_prefix,
        )
        self._check_defaults(changed)
        self._record_defaults(changed, app)

    def _check_defaults(self, checked: Options) -> None:
        """Raise for options that no default metrics can be made of; warn of what is odd."""
        problems = self._catalog.problems
        check_defaults(checked, problems, self._request_class, coroutines=self._coroutines)

    def _record_defaults(self, checked: Options, app: Any) -> None:
        site, naming = self._site(self._app(app)), naming_of(checked)
        exemplar = self._exemplar_reader()
        site.add(RequestRecorder(naming, checked, coroutines=self._coroutines, exemplar=exemplar))
        if checked.looks_inside:
            self._look_inside(site, checked, naming.prefix)

    def register_default(self, *metric_wrappers: Callable[[Any], Any], app: Any = None) -> None:
        """Put decorators around every view of an application, those added later included.

        They see every request that matched a route, but not the metrics endpoint.
        """
        mistakes.check_decorators(metric_wrappers, MetricsBase)
        self._site(self._app(app)).add_decorators(metric_wrappers)

    def info(
        self,
        name: str,
        description: str,
        labelnames: Sequence[str] | None = None,
        labelvalues: Sequence[object] | None = None,
        **labels: object,
    ) -> Gauge:
        """Expose information as labels of a gauge that is 1, and return that gauge.

        Labels are keywords, or names and values in two sequences where their order matters.
        """
        if labels and (labelnames or labelvalues):
            raise ValueError(
                f"info {name!r}: give the labels as keywords or as labelnames and labelvalues, "
                "not both"
            )
        names, values = tuple(labelnames or labels), tuple(labelvalues or labels.values())
        if len(names) != len(values):
            raise ValueError(f"info {name!r}: {len(names)} labelnames, {len(values)} labelvalues")
        return self._catalog.info(self.registry, name, description, names, values)

    def generate_metrics(
        self, accept_header: str | None = None, names: Sequence[str] | None = None
    ) -> tuple[str, str]:
        """Return the exposition and its content type.

        `accept_header` is an HTTP Accept header, `names` restricts to samples of these names.
        """
        body, content_type = scrape.render(self.registry, accept_header, names)
        return body.decode(), content_type

    def _app(self, app: Any) -> Any:
        """Return the application given, this object's, or the current one."""
        if app is None:
            app = self.app
        return self._current_app() if app is None else app

    def _site(self, app: Any) -> Site:
        """Return what promweb knows of an application, attaching to it when it is new."""
        self._check_app(app)
        # Of a proxy like current_app the application is measured, and outlives the proxy's context.
        app = getattr(app, "_get_current_object", lambda: app)()
        with forking.definitions:
            site: Site | None = app.extensions.get("promweb")
            if site is None:
                problems = self._catalog.problems
                site = Site(app, self.clock, self._protocol, self._header_reader, problems)
                app.extensions["promweb"] = site
                self._attach(site)
            return site

    @staticmethod
    def _storage() -> Storage | None:
        """Return where this process keeps numbers that others share; None if nowhere."""
        return None

    @abstractmethod
    def _check_app(self, app: Any) -> None:
        """Raise `TypeError` for an application of another framework."""

    @abstractmethod
    def _current_app(self) -> Any:
        """Return the framework's current application; raise `RuntimeError` if there is none."""

    @abstractmethod
    def _attach(self, site: Site) -> None:
        """Have the application's requests become exchanges of `site`."""

    @staticmethod
    @abstractmethod
    def _protocol(request: Any) -> str:
        """Return the protocol of a request, as the framework spells it."""

    @abstractmethod
    def _look_inside(self, site: Site, checked: Options, prefix: str) -> None:
        """Measure an application's event loop, threads and tasks, as far as that is asked for."""

    @staticmethod
    @abstractmethod
    def _header_reader(names: Sequence[str]) -> Callable[[Any], str]:
        """Return a function of a request: the first of these headers that it has, or ""."""
