"""The options that describe a service; `dashboard` and `rules` share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from functools import wraps
from math import isfinite
from typing import Any, get_args

import click
from click.core import ParameterSource
from prometheus_client import Histogram

from ...core.defaults.group_by import Grouping
from ...core.defaults.naming import naming_of
from ...core.defaults.vocabulary import OTEL, PROMWEB
from ...core.names import plain_name
from ...core.options import NO_PREFIX, Naming, Options, read_buckets
from ..loading.settings import Settings, settings_of
from ..monitoring.service import Latency, Objective, Service, read_duration
from ..terminal import needs
from .app_option import loaded, target_of

__all__ = ["duration", "service_options"]


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Replace these options of a command by a `Service`, its first argument."""

    @wraps(command)
    def with_service(
        app: str | None,
        naming: Naming,
        prefix: str,
        no_prefix: bool,
        group_by: str,
        selector: str,
        summary: bool,
        buckets: tuple[float, ...],
        slo: Decimal,
        latency_threshold: float,
        latency_slo: Decimal,
        websockets: bool,
        native: bool,
        **others: Any,
    ) -> Any:
        if no_prefix and _is_given("prefix"):
            raise click.BadParameter(
                "contradicts --prefix; give one of them", param_hint="--no-prefix"
            )
        start = NO_PREFIX if no_prefix else prefix
        settings = Settings(naming, start, group_by, buckets, summary, websockets, native)
        target = target_of(app)
        settings = _checked(settings) if target is None else _read(target, settings)
        latency = None
        if not settings.summary:
            if not settings.native:  # native buckets work with any threshold
                _check_threshold(latency_threshold, settings.buckets, is_read=target is not None)
            latency = Latency(latency_slo, latency_threshold)
        for option in ("latency_threshold", "latency_slo", "buckets"):
            if settings.summary and _is_given(option):
                raise click.BadParameter(
                    "a summary has no buckets, so it does not know how many requests were slow",
                    param_hint=f"--{option.replace('_', '-')}",
                )
        words = OTEL if settings.naming == "otel" else PROMWEB
        bare = settings.prefix == NO_PREFIX or words is OTEL
        service = Service(
            words=words,
            prefix="" if bare else f"{settings.prefix}_",
            group=words.group or settings.group_by,
            matchers=selector,
            errors=Objective(slo),
            latency=latency,
            websockets=settings.websockets,
            native=settings.native,
            measured=settings.measured,
            workers=settings.workers,
            in_progress_by_group=settings.in_progress_by_group,
        )
        return command(service, **others)

    for option in reversed(_OPTIONS):
        option(with_service)
    return with_service


def _checked(settings: Settings) -> Settings:
    """Return the settings; raise UsageError if promweb's constructor would refuse them."""
    try:
        naming_of(
            Options(
                naming="otel" if settings.naming == "otel" else "promweb",
                defaults_prefix=settings.prefix,
                group_by=settings.group_by,
                buckets=read_buckets(settings.buckets),
                default_latency_as_histogram=not settings.summary,
            )
        )
    except ValueError as error:
        raise click.UsageError(f"No application can have these options. {error}") from error
    return settings


def _read(target: str, given: Settings) -> Settings:
    """Return the settings of an application; options choose among several, and must agree."""
    with loaded(target) as application:
        found = settings_of(application)
    fields = {"prefix": "prefix", "no_prefix": "prefix"}
    fields |= {name: name for name in ("naming", "group_by", "buckets", "summary")}
    for option, field in fields.items():
        if not _is_given(option):
            continue
        wanted = getattr(given, field)
        # `--prefix photos_` means `photos`, unless the application has `photos_` itself.
        odd = f"{wanted}_" if field == "prefix" and _raw("prefix").endswith("_") else wanted
        fitting = [one for one in found if getattr(one, field) in (wanted, odd)]
        if not fitting:
            has = ", ".join(sorted({_text(getattr(one, field)) for one in found}))
            raise click.BadParameter(
                f"the application has {has}; leave the option out",
                param_hint=f"--{option.replace('_', '-')}",
            )
        found = fitting
    if len(found) > 1:
        raise click.UsageError(
            "the application has several metrics objects; choose one: " + "; ".join(map(str, found))
        )
    prefix = found[0].prefix
    plain = prefix if prefix == NO_PREFIX else plain_name(prefix)
    if plain != prefix:
        raise click.BadParameter(
            f"the application has defaults_prefix={prefix!r}, which queries cannot name without "
            f"quotes; write --prefix {plain} in place of --app, if Prometheus shows {plain!r}",
            param_hint="--app",
        )
    # Other instances may have native histograms already.
    native = found[0].native or given.native
    if _is_given("websockets"):
        return replace(found[0], websockets=given.websockets, native=native)
    return replace(found[0], native=native)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{bound:g}" for bound in value)
    return "no prefix" if value == NO_PREFIX else str(value)


def duration(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Read a duration in Prometheus' notation; return seconds (a callback of an option)."""
    try:
        return read_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _percent(ctx: click.Context, param: click.Parameter, value: str) -> Decimal:
    try:
        percent = Decimal(value)
    except InvalidOperation:
        raise click.BadParameter(f"{value!r} is not a number; write for example 99.9") from None
    if percent == 100:
        raise click.BadParameter("100 leaves no budget: every bad request would alert at once")
    if percent.is_finite() and 0 < percent < 1:
        raise click.BadParameter(f"{value} is a share; give a percentage, as in {percent * 100:f}")
    if not percent.is_finite() or not 0 < percent < 100:
        raise click.BadParameter(
            f"{value} is not between 0 and 100; give the percentage of good requests"
        )
    return percent


def _bounds(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...]:
    if value is None:  # OpenTelemetry's conventions have the same bounds
        return tuple(Histogram.DEFAULT_BUCKETS)
    try:
        return tuple(map(float, value.split(",")))
    except ValueError:
        raise click.BadParameter(
            f"{value!r}: write numbers with commas between, as in 0.1,0.5,1"
        ) from None


def _prefix(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return `defaults_prefix`; a trailing underscore is dropped."""
    prefix = value.removesuffix("_")
    ctx.meta["promweb.prefix"] = value
    if not prefix:
        raise click.BadParameter("is empty; use --no-prefix for names without one")
    if plain_name(prefix) != prefix:
        raise click.BadParameter(
            f"{value!r} cannot begin the name of a metric: use letters, digits, underscores and "
            "colons, and no digit first. Write the value of defaults_prefix"
        )
    return prefix


def _group(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value in ("job", "instance"):
        raise click.BadParameter(
            f"Prometheus adds its own label {value!r} to every series, and renames that of the "
            f"application to exported_{value}; write that"
        )
    try:
        return Grouping(value).name
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _selector(ctx: click.Context, param: click.Parameter, value: str) -> str:
    text = value.strip().removeprefix("{").removesuffix("}").strip()
    if not text:
        return ""
    with needs("promql-parser", "promql_parser"):
        from ..promql.selectors import check_matchers
    try:
        check_matchers(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is not a list of label matchers ({error}). The shell removes quotes: write "
            'both kinds: --selector \'job="shop",env=~"prod|test"\''
        ) from error
    return text.removesuffix(",")


def _check_threshold(seconds: float, buckets: tuple[float, ...], *, is_read: bool) -> None:
    finite = [bound for bound in buckets if isfinite(bound)]
    if seconds not in finite:
        bounds = ", ".join(f"{bound:g}" for bound in finite)
        raise click.BadParameter(
            f"{seconds:g} is not a bucket's bound, so nothing counts the requests below it. The "
            f"bounds are {bounds}"
            + (
                "; choose one of them"
                if is_read
                else ". If the application has other buckets, give them with --buckets, or "
                "have them read with --app"
            ),
            param_hint="--latency-threshold",
        )


def _raw(option: str) -> str:
    """Return an option's value as it was written."""
    return str(click.get_current_context().meta.get(f"promweb.{option}", ""))


def _is_given(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is not ParameterSource.DEFAULT


_OPTIONS = (
    click.option(
        "--app",
        metavar="MODULE:APP",
        help="Load this application as flask --app does, and read from its metrics object what "
        "--naming, --prefix, --no-prefix, --group-by, --summary, --buckets, --websockets and "
        "--native say. Leaves out what the object does not measure.",
    ),
    click.option(
        "--naming",
        type=click.Choice(get_args(Naming)),
        default="promweb",
        show_default=True,
        help="Whose names the metrics have: the application's naming. otel has no prefix and is "
        "always grouped by http_route.",
    ),
    click.option(
        "--prefix",
        default="flask",
        show_default=True,
        callback=_prefix,
        help="The application's defaults_prefix, with or without the underscore that follows it "
        "in the names.",
    ),
    click.option("--no-prefix", is_flag=True, help="The application has NO_PREFIX."),
    click.option(
        "--group-by",
        metavar="LABEL",
        default="path",
        show_default=True,
        callback=_group,
        help="The application's group_by: path, endpoint, url_rule, or the name of its function.",
    ),
    click.option(
        "--selector",
        metavar="MATCHERS",
        default="",
        callback=_selector,
        help="Label matchers that select the targets, if others have the same metrics: "
        "'job=\"shop\"'.",
    ),
    click.option(
        "--summary",
        is_flag=True,
        help="The application has default_latency_as_histogram=False: no quantiles, no latency "
        "objective.",
    ),
    click.option(
        "--buckets",
        metavar="SECONDS,...",
        callback=_bounds,
        show_default="prometheus_client's",
        help="The application's buckets, with commas between.",
    ),
    click.option(
        "--slo",
        metavar="PERCENT",
        callback=_percent,
        default="99.9",
        show_default=True,
        help="The percentage of requests that are answered without a 5xx.",
    ),
    click.option(
        "--latency-threshold",
        type=float,
        metavar="SECONDS",
        default=0.5,
        show_default=True,
        help="How long a request may take; must be the bound of a bucket.",
    ),
    click.option(
        "--latency-slo",
        metavar="PERCENT",
        callback=_percent,
        default="99",
        show_default=True,
        help="The percentage of requests that take no longer.",
    ),
    click.option(
        "--websockets/--no-websockets",
        default=True,
        show_default=True,
        help="Whether the application has websockets (Quart).",
    ),
    click.option(
        "--native",
        is_flag=True,
        help="The application has native_histograms: use native series where Prometheus has them, "
        "and classic ones elsewhere. Any latency threshold works, but an instance with classic "
        "buckets only needs the bound of a bucket.",
    ),
)
