"""Names that older Prometheus do not know, written in the scheme that the client asks for.

These are prometheus_client's rules; its versions before 0.22 have no such names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import prometheus_client.openmetrics.exposition as openmetrics

__all__ = ["SCHEMES", "Escape", "escape"]

SCHEMES = ("underscores", "allow-utf-8", "dots", "values")

Escape = Callable[[str], str]
"""Returns the written form of a name."""


@lru_cache(4096)
def escape(scheme: str, kind: str, name: str) -> str:
    """Return a name in one of the schemes; `kind` is `metric` or `label`."""
    rule: Any = getattr(openmetrics, f"escape_{kind}_name", None)
    if rule is None or scheme == "allow-utf-8":  # text would need quotes
        return name
    return rule(name, scheme)  # type: ignore[no-any-return]
