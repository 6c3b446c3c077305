"""Selects the requests that the default metrics exclude, from the constructor's arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..options import Options
from .unseen import UnseenRequest

__all__ = ["Excludes", "excludes"]

Excludes = Callable[[Any], bool]
"""Tells whether a request or a websocket is excluded."""


def excludes(options: Options) -> Excludes | None:
    """Return a function that tells whether to exclude a request before it has a status, or None."""
    tests: list[Excludes] = []
    patterns, methods = options.excluded_paths, options.excluded_methods
    if patterns:
        tests.append(lambda request: any(pattern.match(request.path) for pattern in patterns))
    if methods:
        tests.append(lambda request: getattr(request, "method", "") in methods)
    if options.excluded_unmatched:
        tests.append(_is_unmatched)
    if len(tests) < 2:
        return tests[0] if tests else None
    return lambda request: any(test(request) for test in tests)


def _is_unmatched(request: Any) -> bool:
    # Requests that middleware answers have no route either, but their own group.
    return request.url_rule is None and not isinstance(request, UnseenRequest)
