"""Which requests the default metrics leave out, by what the constructor was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..options import Options
from .unseen import UnseenRequest

__all__ = ["Excludes", "excludes"]

Excludes = Callable[[Any], bool]
"""Tells whether a request or a websocket is left out."""


def excludes(options: Options) -> Excludes | None:
    """Return what tells whether a request is left out before it has a status; None for none."""
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
    # What middleware answers has no route either, and is another group.
    return request.url_rule is None and not isinstance(request, UnseenRequest)
