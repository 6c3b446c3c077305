"""Reads and checks arguments that are words of HTTP, lists of names, or seconds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

__all__ = ["read_header", "read_labelnames", "read_methods", "read_seconds", "read_statuses"]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""The characters of a method and of a header's name (RFC 9110, section 5.6.2)."""


def read_header(argument: str, value: object) -> bool | str:
    """Return True, False, or the name of a header. Raises TypeError or ValueError otherwise."""
    if not isinstance(value, str):
        if value not in (True, False, None):
            raise TypeError(f"{argument}={value!r}: must be True, False, or the name of a header")
        return bool(value)
    if not _TOKEN.fullmatch(value):
        raise ValueError(
            f"{argument}={value!r}: is not the name of a header; write for example "
            f"{argument}='X-Request-Start'"
        )
    return value


def read_seconds(argument: str, value: object) -> bool | float:
    """Return True, False, or a number of seconds. Raises TypeError or ValueError otherwise."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if not isinstance(value, (int, float)):
        raise TypeError(f"{argument}={value!r}: must be True, False, or a number of seconds")
    if not 0.01 <= value < math.inf:
        raise ValueError(f"{argument}={value!r}: must be at least 0.01 seconds, or True or False")
    return float(value)


def read_labelnames(labelnames: Iterable[str], where: str) -> tuple[str, ...]:
    if isinstance(labelnames, (str, bytes)) or not isinstance(labelnames, Iterable):
        raise TypeError(
            f"{where}: labelnames={labelnames!r}: must be a list of names, as in "
            "labelnames=['kind']"
        )
    names = tuple(labelnames)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{where}: labelnames={list(names)!r}: {twice[0]!r} is there twice")
    return names


def read_methods(methods: str | Iterable[str] | None) -> frozenset[str]:
    wanted = "must be HTTP methods, as in excluded_methods=['OPTIONS']"
    if methods is None or isinstance(methods, str):
        methods = [methods] if methods else []
    if not isinstance(methods, Iterable):
        raise TypeError(f"excluded_methods={methods!r}: {wanted}")
    read = list(methods)
    for method in read:
        if not isinstance(method, str):
            raise TypeError(f"excluded_methods: {method!r} is not text; {wanted}")
        if not _TOKEN.fullmatch(method):
            raise ValueError(f"excluded_methods: {method!r} is not a method; {wanted}")
    return frozenset(method.upper() for method in read)


def read_statuses(statuses: int | Iterable[int] | None) -> frozenset[int]:
    wanted = "must be HTTP statuses, as in excluded_statuses=[404]"
    if statuses is None or isinstance(statuses, int):
        statuses = [] if statuses is None else [statuses]
    if isinstance(statuses, (str, bytes)) or not isinstance(statuses, Iterable):
        raise TypeError(f"excluded_statuses={statuses!r}: {wanted}")
    read = list(statuses)
    for status in read:
        if not isinstance(status, int) or isinstance(status, bool):
            raise TypeError(f"excluded_statuses: {status!r} is not a whole number; {wanted}")
        if not 100 <= status <= 599:
            raise ValueError(f"excluded_statuses: {status!r} is not a status; {wanted}")
    return frozenset(map(int, read))
