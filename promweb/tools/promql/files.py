"""Reads the PromQL in Grafana's dashboards (JSON) and Prometheus' rules (YAML).

It searches the whole file for expressions, so dashboards of every version work, whether exported,
from the API or provisioned, and so do rules as a file or as a Kubernetes resource.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Query", "read_file"]

_NAMES = ("alert", "record", "title", "name")
"""The keys that name an expression; the nearest one above it counts."""

_DEEPEST = 200
"""The limit of nesting; files that people write stay far below it."""


@dataclass(frozen=True)
class Query:
    """An expression, and its place in the file."""

    place: str
    text: str
    is_variable: bool = False
    """Whether it belongs to a dashboard's variable; such queries have functions of their own."""


def read_file(path: Path) -> list[Query]:
    """Return the queries of a file; raise ValueError if there are none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read: {error}") from error
    found = [query for document in _documents(text) for query in _search(document, "", "")]
    if not found:
        raise ValueError("has no PromQL; give a Grafana dashboard or Prometheus rules")
    return list(dict.fromkeys(found))


def _documents(text: str) -> list[Any]:
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError):
        pass
    import yaml

    try:
        return list(yaml.safe_load_all(text))
    except (yaml.YAMLError, RecursionError) as error:
        said = str(error).replace("\n", " ")
        raise ValueError(f"is neither JSON nor YAML: {said}") from error


def _search(node: Any, name: str, source: str, depth: int = 0) -> Iterator[Query]:
    """Yield the queries in a node; `source` is the data source's type, if the file names it."""
    if depth > _DEEPEST:
        return
    if isinstance(node, list):
        for one in node:
            yield from _search(one, name, source, depth + 1)
    if not isinstance(node, dict):
        return
    name = next((node[key] for key in _NAMES if isinstance(node.get(key), str)), name) or name
    of = node.get("datasource")
    if isinstance(of, dict) and isinstance(of.get("type"), str):
        source = of["type"]
    if _is_prometheus(source):
        if isinstance(node.get("expr"), str) and node["expr"].strip():
            yield Query(name, node["expr"])
        yield from _variable(node, name)
    for key, one in node.items():
        if isinstance(one, (dict, list)) and key != "datasource":
            yield from _search(one, name, source, depth + 1)


def _is_prometheus(source: str) -> bool:
    return not source or "prometheus" in source or source in ("datasource", "mixed", "$datasource")


def _variable(node: dict[str, Any], name: str) -> Iterator[Query]:
    if node.get("type") == "query":
        query = node.get("query")
    elif node.get("kind") == "QueryVariable":  # Grafana's second schema
        spec: Any = node.get("spec")
        spec = spec if isinstance(spec, dict) else {}
        name = spec.get("name", name)
        query = (spec.get("query") or {}).get("spec") if isinstance(spec.get("query"), dict) else ""
    else:
        return
    if isinstance(query, dict):
        query = query.get("query") or query.get("__legacyStringValue")
    if isinstance(query, str) and query.strip():
        yield Query(f"variable {name}", query, is_variable=True)
