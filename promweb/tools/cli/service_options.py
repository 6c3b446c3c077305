"""The options that say which service a file is for; `dashboard` and `rules` share them."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import wraps
from math import isfinite
from typing import Any, get_args

import click
from click.core import ParameterSource
from prometheus_client import Histogram

from ...core.defaults.group_by import Grouping
from ...core.defaults.naming import NO_PREFIX, Naming, check_defaults
from ...core.defaults.vocabulary import OTEL, PROMWEB
from ..monitoring.service import Latency, Objective, Service, read_duration

__all__ = ["duration", "service_options"]

_PREFIX = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_MATCHER = r'\s*[a-zA-Z_][a-zA-Z0-9_]*\s*(?:=|!=|=~|!~)\s*"(?:[^"\\\n]|\\.)*"\s*'
_MATCHERS = re.compile(f"{_MATCHER}(?:,{_MATCHER})*")


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command's function the options, and in their place the `Service` as first argument."""

    @wraps(command)
    def with_service(
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
        **others: Any,
    ) -> Any:
        if no_prefix and _is_given("prefix"):
            raise click.BadParameter(
                "contradicts --prefix; give one of them", param_hint="--no-prefix"
            )
        latency = None
        if not summary:
            _check_threshold(latency_threshold, buckets)
            latency = Latency(latency_slo, latency_threshold)
        for option in ("latency_threshold", "latency_slo", "buckets"):
            if summary and _is_given(option):
                raise click.BadParameter(
                    "a summary has no buckets, so it does not know how many requests were slow",
                    param_hint=f"--{option.replace('_', '-')}",
                )
        try:
            check_defaults(
                naming,
                prefix=NO_PREFIX if no_prefix else prefix,
                group_by=group_by,
                buckets=buckets,
                histogram=not summary,
                default_labels={},
                response_start=False,
                status_classes=False,
            )
        except ValueError as error:
            raise click.UsageError(f"No application can be given this. {error}") from error
        words = OTEL if naming == "otel" else PROMWEB
        service = Service(
            words=words,
            prefix="" if no_prefix or words is OTEL else f"{prefix}_",
            group=words.group or group_by,
            matchers=selector,
            errors=Objective(slo),
            latency=latency,
            websockets=websockets,
        )
        return command(service, **others)

    for option in reversed(_OPTIONS):
        option(with_service)
    return with_service


def duration(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Read a duration as Prometheus writes it; return seconds (a callback of an option)."""
    try:
        return read_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _percent(ctx: click.Context, param: click.Parameter, value: str) -> Decimal:
    try:
        percent = Decimal(value)
    except InvalidOperation:
        raise click.BadParameter(f"{value!r} is no number; write for example 99.9") from None
    if percent == 100:
        raise click.BadParameter("100 leaves no budget: every bad request would alert at once")
    if not percent.is_finite() or not 0 < percent < 100:
        raise click.BadParameter(
            f"{value} is not between 0 and 100; it is the percentage of good ones"
        )
    return percent


def _bounds(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...]:
    if value is None:  # OpenTelemetry's conventions have the same
        return tuple(Histogram.DEFAULT_BUCKETS)
    try:
        return tuple(map(float, value.split(",")))
    except ValueError:
        raise click.BadParameter(
            f"{value!r}: write numbers with commas between, as in 0.1,0.5,1"
        ) from None


def _prefix(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value:
        raise click.BadParameter("is empty; use --no-prefix for names without one")
    if not _PREFIX.fullmatch(value):
        raise click.BadParameter(
            f"{value!r} cannot begin the name of a metric; it has letters, digits, underscores and "
            "colons, and does not begin with a digit. Write what defaults_prefix is"
        )
    return value


def _group(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value in ("job", "instance"):
        raise click.BadParameter(
            f"Prometheus gives every series a label {value!r} of its own, and calls that of the "
            f"application exported_{value}; write that"
        )
    try:
        return Grouping(value).name
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _selector(ctx: click.Context, param: click.Parameter, value: str) -> str:
    text = value.strip().removeprefix("{").removesuffix("}")
    if text and not _MATCHERS.fullmatch(text):
        raise click.BadParameter(
            f"{value!r} are no label matchers. The shell takes quotes away, so write two kinds: "
            '--selector \'job="shop",env=~"prod|test"\''
        )
    return text.strip()


def _check_threshold(seconds: float, buckets: tuple[float, ...]) -> None:
    finite = [bound for bound in buckets if isfinite(bound)]
    if seconds not in finite:
        bounds = ", ".join(f"{bound:g}" for bound in finite)
        raise click.BadParameter(
            f"{seconds:g} is the bound of no bucket, so nothing counts the requests below it. The "
            f"bounds are {bounds}. If the application has others (buckets=), give them with "
            "--buckets",
            param_hint="--latency-threshold",
        )


def _is_given(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is not ParameterSource.DEFAULT


_OPTIONS = (
    click.option(
        "--naming",
        type=click.Choice(get_args(Naming)),
        default="promweb",
        show_default=True,
        help="Whose names the metrics have: the application's naming. otel has no prefix, and is "
        "always grouped by http_route.",
    ),
    click.option(
        "--prefix",
        default="flask",
        show_default=True,
        callback=_prefix,
        help="What the names of the metrics begin with: the application's defaults_prefix.",
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
        help="Label matchers of the targets, if not all that have these metrics are meant: "
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
        help="The percentage of requests that are not answered with 5xx.",
    ),
    click.option(
        "--latency-threshold",
        type=float,
        metavar="SECONDS",
        default=0.5,
        show_default=True,
        help="How long a request may take; the bound of a bucket.",
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
        help="Whether there may be websockets (Quart).",
    ),
)
