"""The public surface that `PrometheusMetrics` and `AsyncPrometheusMetrics` share."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import CollectorRegistry, Gauge

from . import forking, mistakes, options, readers
from .applications import Applications
from .defaults.naming import check_defaults, naming_of
from .defaults.recording import RequestRecorder
from .factories import LabelValue
from .families.catalog import Catalog
from .families.problems import tell_disabled
from .native.advice import in_short
from .options import NO_PREFIX, GroupBy, InProgress, Naming, Options
from .version import __version__

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .arguments import Arguments

__all__ = ["NO_PREFIX", "MetricsBase"]

F = TypeVar("F", bound=Callable[..., Any])
Self = TypeVar("Self", bound="MetricsBase")


class MetricsBase(Applications):
    """Prometheus metrics of one or more web applications.

    The default metrics measure every request in seconds, from the call of the application to the
    last byte of the body. The object has each of these arguments as an attribute of the same name
    (`export_defaults` as `_export_defaults`, because a method has that name):

    * `app`: the application; None to call `init_app` later.
    * `path`: where the application serves the metrics; None for nowhere.
    * `export_defaults`: whether to record the default metrics.
    * `defaults_prefix`: the beginning of their names, followed by an underscore; `NO_PREFIX` for
      none.
    * `group_by`: how to tell routes apart: `path`, `endpoint`, `url_rule`, any other attribute
      of the request, or a named function of the request, whose name becomes the label.
    * `buckets`: upper bounds of the duration histogram, in seconds; prometheus_client's if None.
    * `default_latency_as_histogram`: False makes the duration a summary.
    * `default_labels`: labels for the default metrics and for every decorator, name to constant,
      callable without arguments, or callable of the response.
    * `response_converter`: accepted but not needed; labels see the final response.
    * `excluded_paths`: a regular expression or several; default metrics skip a path that one of
      them matches from its start. With `exclude_user_defaults` the decorators skip it, too.
    * `metrics_decorator`: applied to the metrics view, for example to ask for a password.
    * `registry`: prometheus_client's global one if None, looked up now.
    * `max_series`: the most label sets of any family; more become `<overflow>`.
    * `in_progress`, `request_size`, `response_size`, `response_start`: whether to measure requests
      in progress by method (`in_progress="group"`: by group), sizes of bodies in bytes, and
      seconds to the first byte.
    * `websockets`: whether to measure websockets (Quart).
    * `exemplar`: the exemplars of counters and histograms, except in plain text: labels that a
      function returns; True for the trace and span of OpenTelemetry's current span if it is
      sampled; False for none. None means True if the program has set up a tracer provider when
      `init_app` or a decorator is called, and False otherwise.
    * `naming`: whose names the default metrics have: `promweb` for those of this library, or
      `otel` for those of OpenTelemetry's semantic conventions, with their labels and buckets.
    * `status_classes`: whether `status` of the default metrics is `2xx`, `4xx` and so on.
    * `namespace`: the beginning of the names of your own metrics and of `info`, followed by an
      underscore; the default metrics have `defaults_prefix`.
    * `excluded_methods`, `excluded_statuses`, `excluded_unmatched`: requests that the default
      metrics skip, like `excluded_paths`: methods, statuses, and all requests without a route.
    * `process_metrics`: whether scrapes show memory and more of each worker process by its `pid`.
    * `native_histograms`: whether duration, sizes and time to the first byte have native buckets
      beside those of `buckets`, or in their place with `buckets=()`: True for buckets that grow by
      10 %, or the factor by which they grow at most, such as 1.05. Prometheus needs a setting to
      take them.
    * `queue_time`: whether to measure how long requests waited before the application was called,
      by a header in which a proxy writes when it took them: True for `X-Request-Start` and its
      relatives, or the name of another header. Clients can forge it.
    * `event_loop`: whether to measure who holds the event loop, and how late it is (Quart). The log
      names blocks of 0.1 s or more; a number changes that time, in seconds.
    * `threads`, `background_tasks`: whether to measure the threads in which plain views run, and
      the tasks that `add_background_task` starts (Quart).

    Raises ValueError or TypeError if an argument cannot work, naming it and the remedy. With the
    environment variable `PROMWEB_DISABLED=1` an object measures and serves nothing.

        app = Flask(__name__)
        metrics = PrometheusMetrics(app, group_by="url_rule")
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
    in_progress: InProgress
    request_size: bool
    response_size: bool
    response_start: bool
    websockets: bool
    exemplar: bool | Callable[[], Mapping[str, str] | None] | None
    naming: Naming
    status_classes: bool
    process_metrics: bool
    native_histograms: bool | float | None
    namespace: str
    excluded_methods: frozenset[str]
    excluded_statuses: frozenset[int]
    excluded_unmatched: bool
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
        group_by: GroupBy = options.GROUP_BY,
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
        in_progress: InProgress = False,
        request_size: bool = False,
        response_size: bool = False,
        response_start: bool = False,
        websockets: bool = True,
        exemplar: bool | Callable[[], Mapping[str, str] | None] | None = None,
        naming: Naming = "promweb",
        status_classes: bool = False,
        process_metrics: bool = False,
        native_histograms: bool | float | None = False,
        namespace: str | None = None,
        excluded_methods: str | Iterable[str] | None = None,
        excluded_statuses: int | Iterable[int] | None = None,
        excluded_unmatched: bool = False,
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
            buckets=options.read_buckets(buckets, native=bool(native_histograms)),
            default_latency_as_histogram=default_latency_as_histogram,
            default_labels=options.read_default_labels(default_labels, static_labels),
            excluded_paths=options.read_patterns(excluded_paths),
            exclude_user_defaults=exclude_user_defaults,
            metrics_decorator=options.read_decorator(metrics_decorator),
            registry=options.read_registry(registry),
            max_series=options.read_max_series(max_series),
            in_progress=options.read_in_progress(in_progress),
            request_size=options.read_flag("request_size", request_size),
            response_size=options.read_flag("response_size", response_size),
            response_start=options.read_flag("response_start", response_start),
            websockets=options.read_flag("websockets", websockets),
            exemplar=exemplar,
            naming=options.read_naming(naming),
            status_classes=options.read_flag("status_classes", status_classes),
            process_metrics=options.read_flag("process_metrics", process_metrics),
            native_histograms=options.read_native(native_histograms),
            namespace=options.read_namespace(namespace),
            excluded_methods=readers.read_methods(excluded_methods),
            excluded_statuses=readers.read_statuses(excluded_statuses),
            excluded_unmatched=options.read_flag("excluded_unmatched", excluded_unmatched),
            queue_time=readers.read_header("queue_time", queue_time),
            event_loop=readers.read_seconds("event_loop", event_loop),
            threads=options.read_flag("threads", threads),
            background_tasks=options.read_flag("background_tasks", background_tasks),
        )
        vars(self).update(vars(checked), excluded_paths=excluded_paths)
        self.native_histograms = native_histograms
        self._export_defaults = vars(self).pop("export_defaults")  # a method has this name
        self.app = app
        self.response_converter = response_converter
        self.version = __version__
        self._disabled = options.is_disabled()
        if self._disabled:  # definitions go to a registry that nothing shows
            checked = replace(checked, registry=CollectorRegistry())
            tell_disabled()
        self._options = checked
        self._catalog = Catalog.of(checked.registry, None if self._disabled else self._storage())
        if self.process_metrics and self._catalog.storage is not None:
            self._catalog.storage.show_processes()
        self._unchecked = []
        self._groups_unasked = (
            group_by is options.GROUP_BY
            and group_by_endpoint is None
            and export_defaults
            and naming == "promweb"
        )
        self._measured = []
        self._callbacks = []
        if self.native_histograms and not self._disabled:
            self._catalog.problems.tell(f"Some histograms have native buckets. {in_short()}")
        self._exemplar_reader()
        self._check_defaults(checked)  # raises here, not when an app factory runs
        if app is not None:
            self.init_app(app)

    @classmethod
    def for_app_factory(cls: type[Self], **kwargs: Unpack[Arguments]) -> Self:
        """Create an object without an application; call `init_app` for each one later.

        For example:

            metrics = PrometheusMetrics.for_app_factory(group_by="url_rule")

            def create_app():
                app = Flask(__name__)
                metrics.init_app(app)
                return app
        """
        return cls(None, **kwargs)

    def init_app(self, app: Any) -> None:
        """Measure an application; doing so again for the same one changes nothing.

        Raises TypeError for any other object, and ValueError if promweb serves something else at
        `path`.

            metrics.init_app(app)
        """
        self._check_app(app)
        if self._disabled:
            return
        with forking.definitions:
            site = self._site(app)
            if self in site.owners:
                return
            if self.path:
                self.register_endpoint(self.path, app)
            if self._export_defaults:
                self._record_defaults(self._options, app)
            self._measure(site)
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
        """Record the default metrics for an application (this object's, or the current one).

        The arguments are those of the constructor, with its errors; `prefix` is `defaults_prefix`.

            metrics = PrometheusMetrics(app, export_defaults=False)
            metrics.export_defaults(group_by="endpoint", prefix="shop")
        """
        changed = replace(
            self._options,
            buckets=options.read_buckets(buckets, native=bool(self.native_histograms)),
            group_by=options.read_group_by(group_by, group_by_endpoint),
            default_latency_as_histogram=latency_as_histogram,
            defaults_prefix=prefix or self.defaults_prefix,
        )
        self._check_defaults(changed)
        if not self._disabled:
            self._record_defaults(changed, app)

    def _check_defaults(self, checked: Options) -> None:
        """Raise if no default metrics can have these options; warn of odd ones."""
        problems = self._catalog.problems
        check_defaults(checked, problems, self._request_class, coroutines=self._coroutines)

    def _record_defaults(self, checked: Options, app: Any) -> None:
        site, naming = self._site(self._app(app)), naming_of(checked)
        exemplar = self._exemplar_reader()
        site.add(RequestRecorder(naming, checked, coroutines=self._coroutines, exemplar=exemplar))
        if checked.looks_inside:
            self._look_inside(site, checked, naming.prefix)

    @mistakes.explained
    def info(
        self,
        name: str,
        description: str,
        labelnames: Sequence[str] | None = None,
        labelvalues: Sequence[object] | None = None,
        **labels: object,
    ) -> Gauge:
        """Expose information as labels of a gauge that is 1, and return that gauge.

        Give labels as keywords, or as names and values in two sequences if their order matters.
        Raises ValueError for both, and for a name or label that Prometheus does not allow.

            metrics.info("build", "What runs here", version="1.4.0", commit="abc123")
        """
        if labels and (labelnames or labelvalues):
            raise ValueError(
                f"info {name!r}: give the labels as keywords or as labelnames and labelvalues, "
                "not both"
            )
        names, values = tuple(labelnames or labels), tuple(labelvalues or labels.values())
        if len(names) != len(values):
            raise ValueError(f"info {name!r}: {len(names)} labelnames, {len(values)} labelvalues")
        full_name = "_".join(filter(None, (self._options.namespace, name)))
        return self._catalog.info(self._options.registry, full_name, description, names, values)
