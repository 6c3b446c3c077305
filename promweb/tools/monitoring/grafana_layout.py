"""A dashboard in Grafana's classic model: variables, rows, and the places of panels.

This is schema version 39 (Grafana 11); newer versions of Grafana migrate it when they load it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .panels import DATASOURCE, Json, Panel

__all__ = ["Row", "dashboard", "query_variable"]

_SCHEMA_VERSION = 39
_COLUMNS = 24


class Row(NamedTuple):
    """A title with panels below it; a collapsed row runs its queries when it is opened."""

    title: str
    panels: Sequence[Panel]
    collapsed: bool = False


def query_variable(name: str, label: str, query: str, *, all_value: str | None = None) -> Json:
    """Return a variable with several values, which Grafana escapes for a regular expression.

    "All" means every existing value, or `all_value`, unescaped.
    """
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"qryType": 1, "query": query, "refId": f"variable-{name}"},
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": all_value,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def dashboard(
    uid: str, title: str, description: str, variables: Sequence[Json], rows: Iterable[Row]
) -> Json:
    """Return a dashboard that asks for its data source; its `uid` identifies it to Grafana."""
    source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "multi": False,
        "includeAll": False,
    }
    return {
        "id": None,
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["promweb"],
        "schemaVersion": _SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # the crosshair is shared
        "timezone": "browser",
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [source, *variables]},
        "annotations": {"list": []},
        "links": [],
        "panels": _laid_out(rows),
    }


def _laid_out(rows: Iterable[Row]) -> list[Json]:
    """Give panels their places, from left to right, and their ids, from 1."""
    panels: list[Json] = []
    number, y = 1, 0
    for row in rows:
        title: Json = {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": row.collapsed,
            "gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 1},
            "panels": [],
        }
        number, y, x, height = number + 1, y + 1, 0, 0
        below = []
        for panel in row.panels:
            if x + panel.width > _COLUMNS:
                x, y, height = 0, y + height, 0
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            below.append({"id": number, "gridPos": place, **panel.model})
            number, x, height = number + 1, x + panel.width, max(height, panel.height)
        y += height
        # Grafana keeps the panels of a collapsed row inside it, and others after it.
        title["panels"] = below if row.collapsed else []
        panels += [title] if row.collapsed else [title, *below]
    return panels
