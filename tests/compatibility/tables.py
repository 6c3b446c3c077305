"""The extensions, by framework."""

from __future__ import annotations

from . import flask_answers, flask_apis, flask_pages, flask_users, quart_apis, quart_middleware
from .programs import Extension

__all__ = ["TABLES"]

TABLES: dict[str, list[Extension]] = {
    "Flask": [
        *flask_apis.EXTENSIONS,
        *flask_users.EXTENSIONS,
        *flask_answers.EXTENSIONS,
        *flask_pages.EXTENSIONS,
    ],
    "Quart": [*quart_apis.EXTENSIONS, *quart_middleware.EXTENSIONS],
}
