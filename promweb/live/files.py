"""The files of the live page and their headers; imports no framework."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import NamedTuple

from ..core.defaults.vocabulary import VOCABULARIES

__all__ = ["SCRAPE", "File", "find"]

SCRAPE = "scrape"
"""The page asks for the metrics as a file of this name."""

_PAGE = "page.html"
_VOCABULARY = "vocabulary.js"
_TYPES = {
    _PAGE: "text/html",
    "icon.svg": "image/svg+xml",
    "live.css": "text/css",
    "live.js": "text/javascript",
    "parts.js": "text/javascript",
    "scrape.js": "text/javascript",
    "uPlot.min.css": "text/css",
    "uPlot.min.js": "text/javascript",
    _VOCABULARY: "text/javascript",
}
_HEADERS = {
    "Cache-Control": "no-cache",  # a page must not meet scripts of another version
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class File(NamedTuple):
    """A response that sends a file of the page."""

    status: int
    headers: dict[str, str]
    body: bytes


def find(name: str | None) -> File:
    """Return a file of the page, the page itself for None, a 404 for an unknown name."""
    name = _PAGE if name is None else name
    if name not in _TYPES:
        headers = {**_HEADERS, "Content-Type": "text/plain; charset=utf-8"}
        return File(404, headers, b"The live page has no such file.\n")
    return _load(name)


@cache
def _load(name: str) -> File:
    headers = {**_HEADERS, "Content-Type": f"{_TYPES[name]}; charset=utf-8"}
    if name == _VOCABULARY:
        body = _vocabulary().encode()
    else:
        body = (resources.files(__package__) / "static" / name).read_bytes()
    return File(200, headers, body)


def _vocabulary() -> str:
    """Return a JavaScript module with the names that each naming uses."""
    made = [vocabulary._asdict() for vocabulary in VOCABULARIES]
    return f"export const VOCABULARIES = {json.dumps(made, indent=2)};\n"
