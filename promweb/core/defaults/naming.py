"""`naming`: whose names the default metrics have, and which arguments fit them."""

from __future__ import annotations

from ..families.problems import Problems
from ..labels.plan import LabelPlan
from ..names import RESERVED, label_problems, none_problems, prefix_problem
from ..options import NO_PREFIX, Options
from .group_by import check_attribute
from .http import promweb_naming
from .otel import otel_naming
from .recording import Naming

__all__ = ["check_defaults", "naming_of"]

_WEBSOCKETS = {
    "close_code": "the code with which a websocket was closed",
    "direction": "the direction of a websocket's message",
}
"""The meaning of the labels of websocket families."""


def naming_of(options: Options) -> Naming:
    """Return the naming of some options. Raises ValueError or TypeError if the default metrics

    cannot have these options.
    """
    if options.naming == "otel":
        _check_otel(options)
        naming = otel_naming(options)
    else:
        naming = promweb_naming(options)
    _check_labels(options, naming)
    return naming


def check_defaults(
    options: Options, problems: Problems, request_class: type, *, coroutines: bool
) -> None:
    """Raise if the default metrics cannot have these options; warn about odd ones."""
    odd_prefix, default_labels = prefix_problem(options.defaults_prefix), options.default_labels
    naming = naming_of(options)
    if options.naming == "promweb":
        check_attribute(options.group_by, request_class)
    LabelPlan(naming.rows[0].name, {}, default_labels, problems, coroutines=coroutines)
    websockets = _WEBSOCKETS if coroutines and options.websockets else {}
    for message in (
        odd_prefix,
        *label_problems([naming.grouping.name], f"group_by={options.group_by!r}", websockets),
        *label_problems(default_labels, "default_labels", websockets),
        *none_problems(default_labels, "default_labels"),
    ):
        if message:
            problems.warn(message)


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


def _check_labels(options: Options, naming: Naming) -> None:
    default_labels = options.default_labels
    taken = [label for label in naming.labels if label in default_labels]
    if taken:
        raise ValueError(
            f"default_labels: with naming={options.naming!r} the default metrics have a label "
            f"{taken[0]!r} already; give the default label another name"
        )
    kinds = {row.kind for row in naming.rows if not row.option or getattr(options, row.option)}
    reserved = {
        name: text
        for kind in kinds
        for name, text in RESERVED.get(kind.client_class.__name__.lower(), {}).items()
    }
    label_problems(default_labels, "default_labels", reserved)
    label_problems([naming.grouping.name], f"group_by={options.group_by!r}", reserved)
    first = naming.rows[0]
    try:
        first.kind(first.name, "", (*naming.labels, *default_labels))
    except ValueError as error:  # an older prometheus_client accepts no odd prefix
        raise ValueError(f"defaults_prefix={options.defaults_prefix!r}: {error}") from error
