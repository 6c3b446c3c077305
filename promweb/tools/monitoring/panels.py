"""The kinds of Grafana panels that the dashboard uses. Knows nothing of promweb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = [
    "DATASOURCE",
    "RATE",
    "Json",
    "Panel",
    "heatmap",
    "legend",
    "limit",
    "stat",
    "table",
    "timeseries",
]

Json = dict[str, Any]

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

_HEIGHT = 9
"""The height of a panel of lines, in units of Grafana's grid: its legend has room for three."""

RATE = "[$__rate_interval]"
"""The range that a rate needs for one point of a graph, whatever the time range."""


class Panel(NamedTuple):
    """A panel without its position; width in columns of 24, height in units of Grafana's grid."""

    width: int
    height: int
    model: Json


def timeseries(
    title: str,
    description: str,
    unit: str,
    lines: Mapping[str, str],
    *,
    width: int = 8,
    stacked: bool = False,
    maximum: float | None = None,
    colours: Mapping[str, str] | None = None,
    limits: Json | None = None,
) -> Panel:
    """Return a panel of lines; `lines` has expressions by the name of their series.

    `limits` come from `limit`; `colours` are by the name of the series.
    """
    custom: Json = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 60 if stacked else 10,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if limits else "off"},
    }
    defaults: Json = {
        "unit": unit,
        "min": 0,
        "custom": custom,
        "color": {"mode": "palette-classic"},
    }
    if unit == "percentunit":
        custom["axisSoftMax"] = 0.01  # else nothing but zeros has an axis up to 10000 %
    if maximum is not None:
        defaults["max"] = maximum
    if limits:
        defaults["thresholds"] = limits
    overrides = [
        _override(name, color={"mode": "fixed", "fixedColor": colour})
        for name, colour in (colours or {}).items()
    ]
    options = {
        "legend": {
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
            "calcs": ["mean", "max", "lastNotNull"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    targets = [
        _target(expr, index, range=True, legendFormat=name)
        for index, (name, expr) in enumerate(lines.items())
    ]
    return _panel(
        "timeseries",
        title,
        description,
        targets,
        options,
        defaults,
        overrides,
        width=width,
        height=_HEIGHT,
    )


def stat(
    title: str,
    description: str,
    unit: str,
    expr: str,
    *,
    width: int = 4,
    limits: Json | None = None,
) -> Panel:
    """Return a panel with the newest number over its history."""
    defaults: Json = {"unit": unit, "min": 0}
    defaults["thresholds"] = limits or _steps(("text", None))
    options = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    targets = [_target(expr, 0, range=True)]
    return _panel("stat", title, description, targets, options, defaults, width=width, height=4)


def heatmap(title: str, description: str, unit: str, expr: str, *, width: int = 12) -> Panel:
    """Return a heatmap of a histogram's buckets; `unit` is the unit of the bounds."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "fill": "dark-orange",
            "exponent": 0.5,
            "steps": 64,
            "reverse": False,
        },
        "yAxis": {"axisPlacement": "left", "unit": unit, "reverse": False},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
    }
    target = _target(expr, 0, range=True, format="heatmap", legendFormat="{{le}}", exemplar=True)
    return _panel("heatmap", title, description, [target], options, {}, width=width, height=_HEIGHT)


def table(
    title: str,
    description: str,
    columns: Mapping[str, tuple[str, str]],
    *,
    sort: str,
    width: int = 24,
) -> Panel:
    """Return a table with a row for each label set; `columns` has unit and expression by title.

    It shows the newest values, sorted by the column `sort`, largest first.
    """
    targets = [
        _target(expr, index, instant=True, format="table")
        for index, (_, expr) in enumerate(columns.values())
    ]
    # Grafana's name for a column of values depends on how many there are.
    values = [f"Value #{target['refId']}" for target in targets] if len(targets) > 1 else ["Value"]
    renamed = dict(zip(values, columns, strict=True))
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": renamed}},
    ]
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "sortBy": [{"displayName": sort, "desc": True}],
    }
    overrides = [_override(name, unit=unit) for name, (unit, _) in columns.items()]
    defaults = {"custom": {"filterable": True}}
    panel = _panel("table", title, description, targets, options, defaults, overrides, width=width)
    panel.model["transformations"] = transformations
    return panel


def limit(value: float) -> Json:
    """Return thresholds: green below a value, red from there."""
    return _steps(("green", None), ("red", value))


def legend(*labels: str) -> str:
    """Return a template that names a series by the values of labels."""
    return " ".join(f"{{{{{label}}}}}" for label in labels)


def _panel(
    kind: str,
    title: str,
    description: str,
    targets: list[Json],
    options: Json,
    defaults: Json,
    overrides: Sequence[Json] = (),
    *,
    width: int,
    height: int = 8,
) -> Panel:
    model = {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": targets,
        "options": options,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
    }
    return Panel(width, height, model)


def _target(expr: str, index: int, **options: Any) -> Json:
    return {
        "refId": chr(ord("A") + index),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expr,
        "range": False,
        "instant": False,
        "format": "time_series",
        **options,
    }


def _override(name: str, **properties: Any) -> Json:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def _steps(*steps: tuple[str, float | None]) -> Json:
    return {
        "mode": "absolute",
        "steps": [{"color": colour, "value": value} for colour, value in steps],
    }
