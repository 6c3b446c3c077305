"""Exempts promweb's own routes from the API documents and rate limits of extensions.

It uses only extensions that the program has imported, each with its own decorator.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["exempt_on_flask", "exempt_on_quart"]

View = Callable[..., Any]


def exempt_on_flask(view: View) -> View:
    """Return a view that APIFlask leaves out of its OpenAPI document."""
    blueprint = _public("apiflask", "APIBlueprint")
    if blueprint is None:
        return view
    hidden: View = blueprint("promweb", __name__).doc(hide=True)(view)
    return hidden


def exempt_on_quart(view: View) -> View:
    """Return a view that quart-schema does not document and quart-rate-limiter does not limit."""
    for module, name in (("quart_schema", "hide"), ("quart_rate_limiter", "rate_exempt")):
        decorator = _public(module, name)
        if decorator is not None:
            view = decorator(view)
    return view


def _public(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)
