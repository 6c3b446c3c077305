"""Names and labels that programs choose: which ones Prometheus refuses, and which are odd.

Every version of Prometheus accepts letters, digits and underscores. prometheus_client accepts more;
such names are odd, and worth a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import Gauge

from .options import NO_PREFIX

__all__ = [
    "RESERVED",
    "check_label_name",
    "label_problems",
    "name_problem",
    "none_problems",
    "plain_name",
    "prefix_problem",
]

RESERVED = {
    "histogram": {"le": "the upper bound of a histogram's bucket"},
    "summary": {"quantile": "the quantile of a summary"},
}
"""The meaning of labels that a type of metric reserves."""

_LABEL_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def check_label_name(name: object, where: str) -> str:
    """Return a plain label name; raise ValueError for another one."""
    if not isinstance(name, str) or not _LABEL_NAME.fullmatch(name):
        raise ValueError(
            f"{where}: invalid label name {name!r}; a label name starts with a letter or an "
            "underscore and contains only letters, digits and underscores"
        )
    return name


def label_problems(
    names: Iterable[object], where: str, reserved: Mapping[str, str] | None = None
) -> list[str]:
    """Return messages about odd names among a metric's labels.

    Raises ValueError for names that the metric cannot have. `reserved` maps names that promweb or
    Prometheus needs to their meaning.
    """
    odd, older = [], dict[str, object]()
    for name in names:
        if reserved and isinstance(name, str) and name in reserved:
            raise ValueError(
                f"{where}: a label {name!r} is {reserved[name]}; give yours another name"
            )
        if not isinstance(name, str) or not _LABEL_NAME.fullmatch(name):
            odd.append(f"{where}: " + _odd_label(name, where))
        plain = plain_name(str(name))
        if plain in older:
            raise ValueError(
                f"{where}: the labels {older[plain]!r} and {name!r} are both {plain!r} for "
                "Prometheus before version 3; give one of them another name"
            )
        older[plain] = name
    return odd


def _odd_label(name: Any, where: str) -> str:
    try:
        if not name:
            raise ValueError("prometheus_client accepts it, but no Prometheus does")
        Gauge("promweb_probe", "Never registered.", (name,), registry=None)
    except Exception:  # prometheus_client cannot check other objects than text
        return check_label_name(name, where)  # raises
    return _odd(f"the label {name!r}", name, plain_name(name))


def _odd(what: str, name: str, plain: str) -> str:
    return (
        f"{what} has characters other than letters, digits and underscores: Prometheus 3 shows "
        f"{name!r}, older ones {plain!r}. Write {plain!r} to have one name everywhere."
    )


def plain_name(name: str) -> str:
    """Return a name as prometheus_client writes it for a Prometheus before version 3."""
    return re.sub(r"[^a-zA-Z0-9_:]|^(?=\d)", "_", name)


def none_problems(labels: Mapping[str, object], where: str) -> list[str]:
    """Return a message for each label that is None, perhaps from a missing setting."""
    return [
        f"{where}: the label {label!r} is None, which becomes the text 'None'. Give it a value, "
        "or leave it out."
        for label, value in labels.items()
        if value is None
    ]


def prefix_problem(prefix: str) -> str:
    """Return a message about an odd prefix, "" if it is fine. Raises TypeError if not text."""
    if not isinstance(prefix, str):
        raise TypeError(f"defaults_prefix={prefix!r}: must be text, or promweb.NO_PREFIX")
    if prefix.endswith("_"):
        return (
            f"defaults_prefix={prefix!r} ends with an underscore, and promweb adds another: the "
            f"names begin with {prefix + '_'!r}. Write {prefix.rstrip('_')!r} to have only one."
        )
    if prefix == NO_PREFIX or _METRIC_NAME.fullmatch(prefix):
        return ""
    return _odd(f"defaults_prefix={prefix!r}", prefix, plain_name(prefix))


def name_problem(name: str, kind: str) -> str:
    """Return a message about an odd name of a metric, "" if it is fine.

    Raises TypeError unless it is text.
    """
    if not isinstance(name, str):
        raise TypeError(f"{kind} {name!r}: the name of a metric must be text")
    if kind == "counter" and name.endswith("_total_total"):
        return f"counter {name!r} ends with _total twice; write {name.removesuffix('_total')!r}"
    if _METRIC_NAME.fullmatch(name):
        return ""
    return _odd(f"{kind} {name!r}", name, plain_name(name))
