"""Reads requests to replay from a list or from a server's access log.

A line is `GET /path`, `/path`, an object of JSON with `method`, `path`, `headers`, and `body`,
`json` or `form`, or a line of an access log in the common form, in which the request stands in
quotes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

__all__ = ["Request", "Requests", "read_requests"]

_LOGGED = re.compile(r'"(?P<method>[A-Z]+) (?P<target>[^\s"]+)(?: (?:HTTP/)?[\d.]+)?"')
_LISTED = re.compile(r"(?:(?P<method>[A-Za-z]+)\s+)?(?P<target>(?:https?:/)?/\S*)(?:\s+HTTP/\S+)?")
_SENDS = ("PATCH", "POST", "PUT")
_PATHS = ("path", "uri", "url", "target", "request_uri")


@dataclass(frozen=True)
class Request:
    """A request; `target` is the path with its query."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


@dataclass
class Requests:
    """The requests of a file, and counts of the lines that are not sent."""

    sent: list[Request] = field(default_factory=list)
    methods: Counter[str] = field(default_factory=Counter)
    """How many requests have a method that is not allowed, by method."""
    unreadable: int = 0
    """How many lines are not requests."""
    surplus: int = 0
    """How many requests exceed the limit."""

    @property
    def empty(self) -> Counter[str]:
        """How many requests have a method that usually sends a body, and have none, by method."""
        return Counter(one.method for one in self.sent if one.method in _SENDS and not one.body)


def read_requests(lines: Iterable[str], methods: Collection[str], limit: int) -> Requests:
    """Read requests; only count those with other methods and those beyond the limit."""
    found = Requests()
    for line in lines:
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        request = _read(line)
        if request is None:
            found.unreadable += 1
        elif request.method not in methods:
            found.methods[request.method] += 1
        elif len(found.sent) >= limit:
            found.surplus += 1
        else:
            found.sent.append(request)
    return found


def _read(line: str) -> Request | None:
    if line.startswith("{"):
        return _read_json(line)
    found = _LISTED.fullmatch(line) or _LOGGED.search(line)
    return _make(found["method"] or "GET", found["target"]) if found else None


def _read_json(line: str) -> Request | None:
    try:
        given: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    given = given["request"] if isinstance(given.get("request"), dict) else given
    target = next((given[key] for key in _PATHS if isinstance(given.get(key), str)), "")
    headers = given.get("headers") if isinstance(given.get("headers"), dict) else {}
    pairs = {str(name): str(value) for name, value in headers.items()}
    body = given.get("body")
    if "json" in given:
        body = json.dumps(given["json"])
        pairs.setdefault("Content-Type", "application/json")
    elif isinstance(given.get("form"), dict):
        body = urlencode(given["form"], doseq=True)
        pairs.setdefault("Content-Type", "application/x-www-form-urlencoded")
    data = str(body).encode() if body is not None else None
    return _make(str(given.get("method", "GET")), target, pairs, data)


def _make(
    method: str, target: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> Request | None:
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    if not target:
        return None
    # Of an absolute URL only the path counts: requests go only to the given service.
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        return None
    return Request(method.upper(), path, tuple((headers or {}).items()), body)
