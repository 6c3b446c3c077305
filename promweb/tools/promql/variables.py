"""The queries of a Grafana dashboard, in which variables stand for names, values and ranges."""

from __future__ import annotations

import re

from .selectors import ANY, Matcher, Selector, selectors

__all__ = ["read_expression", "read_variable"]

_NUMBERS = ("__interval_ms", "__range_s", "__range_ms", "__from", "__to")
_VARIABLE = re.compile(
    r"\[\[(?P<old>\w+)(?::\w+)?\]\]|\$(?P<short>\w+)|\$\{(?P<long>\w+)(?:[.:][^}]*)?\}"
)
_PIECE = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)"""
    r"|(?P<range>\[\[\[[^\[\]]*\]\]\]|(?<!\[)\[(?!\[)[^\[\]\"]*\]|\boffset\s+-?\$\{?\w+\}?)"
    rf"|(?P<variable>{re.sub(r'[?]P<[a-z]+>', '', _VARIABLE.pattern)})",
    re.DOTALL,
)
_LABEL_VALUES = re.compile(r'\s*label_values\(\s*(?:(.*),)?\s*"?([^\s,"]+)"?\s*\)\s*', re.DOTALL)
_QUERY_RESULT = re.compile(r"\s*query_result\((.*)\)\s*", re.DOTALL)
_METRICS = re.compile(r"\s*metrics\(\s*(.*?)\s*\)\s*", re.DOTALL)
_LABEL_NAMES = re.compile(r"\s*label_names\(.*\)\s*", re.DOTALL)


def read_variable(query: str) -> list[Selector]:
    """Return the selectors of a variable's query; raise ValueError if it cannot be parsed."""
    if found := _LABEL_VALUES.fullmatch(query):
        label = frozenset({found[2]} if "$" not in found[2] else ())
        if not (found[1] or "").strip():
            return [Selector("", labels=label)] if label else []
        return [
            Selector(one.name, one.matchers, one.labels | label)
            for one in read_expression(found[1])
        ]
    if found := _METRICS.fullmatch(query):
        pattern = _VARIABLE.sub(".*", found[1].strip("\"'"))
        return [Selector("", (Matcher("__name__", "=~", f".*(?:{pattern}).*"),))]
    if _LABEL_NAMES.fullmatch(query):
        return []
    if found := _QUERY_RESULT.fullmatch(query):
        query = found[1]
    return read_expression(query)


def read_expression(expression: str) -> list[Selector]:
    """Return the selectors of an expression; raise ValueError if it cannot be parsed."""
    try:
        return selectors(_without_variables(expression, ANY))
    except ValueError as problem:
        try:  # a variable may be a number
            return selectors(_without_variables(expression, "1"))
        except ValueError:
            raise problem from None


def _without_variables(expression: str, name: str) -> str:
    def replace(piece: re.Match[str]) -> str:
        if piece["text"]:
            return _VARIABLE.sub(ANY, piece["text"])
        if piece["range"]:
            # In `[${minutes}m]` the variable is a number.
            return re.sub(rf"(?:{_VARIABLE.pattern})(\w?)", _duration, piece["range"])
        found = _VARIABLE.fullmatch(piece[0])
        assert found is not None
        variable = found["old"] or found["short"] or found["long"]
        if variable in _NUMBERS:
            return "1"
        around = (
            expression[max(piece.start() - 1, 0) : piece.start()] + expression[piece.end() :][:1]
        )
        return ANY if re.search(r"[\w:]", around) else name  # otherwise it is part of a name

    return _PIECE.sub(replace, expression)


def _duration(found: re.Match[str]) -> str:
    unit = found[found.re.groups]
    return f"5{unit}" if unit else "5m"
