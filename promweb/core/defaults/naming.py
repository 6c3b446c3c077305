"""`naming`: whose names the default metrics have, and which arguments fit them."""

from __future__ import annotations

from collections.abc import Iterable

from ..families.kinds import HistogramFamily
from ..options import NO_PREFIX, Options
from .http import promweb_naming
from .otel import otel_naming
from .recording import Naming

__all__ = ["naming_of"]


def naming_of(options: Options) -> Naming:
    """Return the naming that some options ask for.

    Raises ValueError or TypeError for options that no default metrics can be made of.
    """
    if options.naming == "otel":
        _check_otel(options)
        naming = otel_naming(options)
    else:
        naming = promweb_naming(options)
    _check_labels(options, naming.labels)
    _check_buckets(options.buckets, naming.rows[0].name)
    return naming


def _check_otel(options: Options) -> None:
    # The default of an argument contradicts nothing.
    for contradicts, argument, why in (
        (
            options.defaults_prefix not in ("flask", NO_PREFIX),
            f"defaults_prefix={options.defaults_prefix!r}",
            "the names of the conventions have no prefix",
        ),
        (
            options.group_by not in ("path", "url_rule"),
            f"group_by={options.group_by!r}",
            "the group is the label http_route, which is the rule of the route",
        ),
        (
            not options.default_latency_as_histogram,
            "default_latency_as_histogram=False",
            "the duration is a histogram by the conventions",
        ),
        (
            options.response_start,
            "response_start=True",
            "the conventions have no name for the time to the first byte",
        ),
        (
            options.status_classes,
            "status_classes=True",
            "http_response_status_code is the exact status by the conventions",
        ),
    ):
        if contradicts:
            raise ValueError(
                f"{argument} contradicts naming='otel': {why}. Leave the argument out, or measure "
                "with a second object without naming='otel' as well"
            )


def _check_labels(options: Options, labels: tuple[str, ...]) -> None:
    default_labels = options.default_labels
    taken = [label for label in labels if label in default_labels]
    if taken:
        raise ValueError(
            f"default_labels: with naming={options.naming!r} the default metrics have a label "
            f"{taken[0]!r} already; give the default label another name"
        )
    try:
        HistogramFamily("duration", "", default_labels)
    except ValueError as error:
        raise ValueError(f"default_labels: {error}") from error


def _check_buckets(buckets: Iterable[float | str] | None, name: str) -> None:
    if buckets is None:
        return
    try:
        HistogramFamily("duration", "", buckets=buckets)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"buckets={buckets!r} of {name}: {error}") from error
