"""Prints differences: as a table, as JSON, as annotations of GitHub."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..terminal import safe
from .differences import Difference, Level, listed

__all__ = ["as_json", "github_lines", "summary", "table"]

_COLOURS = {
    Level.BREAKS: "bold red",
    Level.UNREAD: "bold red",
    Level.MAYBE: "yellow",
    Level.UNCHECKED: "yellow",
    Level.KNOWN: "cyan",
    Level.NOTE: "dim",
    Level.ADDS: "green",
}
_COMMANDS = {Level.BREAKS: "error", Level.UNREAD: "error", Level.MAYBE: "warning"}
_ESCAPES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY_ESCAPES = {**_ESCAPES, ":": "%3A", ",": "%2C"}
_COUNTED = {
    Level.BREAKS: "break queries",
    Level.UNREAD: "could not be compared",
    Level.MAYBE: "may be other traffic",
    Level.UNCHECKED: "not checked",
    Level.KNOWN: "documented",
    Level.NOTE: "to note",
    Level.ADDS: "new",
}


def summary(differences: Iterable[Difference]) -> str:
    """Return a sentence that counts the differences by kind."""
    counts = Counter(one.level for one in differences)
    if not counts:
        return "There are no differences."
    parts = [f"{counts[level]} {_COUNTED[level]}" for level in Level if counts[level]]
    total = sum(counts.values())
    return f"{total} difference{'s' if total > 1 else ''}: {', '.join(parts)}."


def as_json(differences: Sequence[Difference], **more: Any) -> str:
    """Return an object of JSON; `docs/command-line.md` documents the form."""
    counts = Counter(one.level for one in differences)
    made = [
        {
            "level": one.level.value,
            "check": one.check,
            "family": one.family,
            "what": one.what,
            "known": one.known or None,
            "users": list(one.users),
        }
        for one in differences
    ]
    counted = {level.value: counts[level] for level in Level}
    return json.dumps({"version": 1, **more, "counts": counted, "differences": made}, indent=2)


def github_lines(differences: Iterable[Difference]) -> Iterator[str]:
    """Yield GitHub's workflow commands that show differences beside a change."""
    for one in differences:
        command = _COMMANDS.get(one.level, "notice")
        title = f"{one.level.value}: {one.family}" if one.family else one.level.value
        yield f"::{command} title={_escaped(title, _PROPERTY_ESCAPES)}::{_escaped(_said(one))}"


def _escaped(text: str, escapes: dict[str, str] = _ESCAPES) -> str:
    return "".join(escapes.get(c, c) for c in text)


def _said(one: Difference) -> str:
    users = f" (in {listed(one.users, '; ')})" if one.users else ""
    known = f". Documented: {one.known}" if one.known else ""
    return f"{one.what}{users}{known}"


def table(differences: Iterable[Difference]) -> Any:
    """Return a table for rich."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for title in ("", "family or file", "what is different"):
        made.add_column(title, overflow="fold", no_wrap=not title)
    for one in differences:
        level = Text(one.level.value, _COLOURS[one.level])
        made.add_row(level, Text(safe(one.family)), Text(safe(_said(one))))
    return made
