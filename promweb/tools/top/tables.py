"""The tables of `promweb top`, made with rich from the traffic or from a report.

Text from a service is untrusted: each string passes `safe`, and goes into a `Text`, in which
nothing is markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from ...scrapes.snapshot import Labels
from ...scrapes.tally import QUANTILES, Tally
from ...scrapes.traffic import ORDERS, Row, Traffic
from ..terminal import safe
from .figures import duration, number, quantile, share, size, sparkline

__all__ = ["Overview", "live", "once"]

SHOWN = 200
"""The most rows of a live table."""

_REQUESTS = ("rate/s", "errors", *QUANTILES, "total")
_WIDTH = 7
"""The width of a column of numbers; all tables have the same, so that columns line up."""
_NAME = 22
"""The least width of the column of names in a live table: an address and its port fit."""
_LONGEST = 1000
"""Names are cut after this many characters."""

_ESTIMATED = "p50, p95 and p99 are estimated from buckets."

# The column that each order sorts by.
_COLUMNS = {"rate": 1, "errors": 2, "latency": 4, "name": 0}


class Overview:
    """The totals, each with its history, in two columns that fill the width."""

    def __init__(self, traffic: Traffic) -> None:
        self._row = traffic.overall
        self._in_progress = traffic.in_progress
        self._points = list(traffic.history)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        titles, values, gaps = (11, 3), 8, 6
        room = max((options.max_width - sum(titles) - 2 * values - gaps) // 2, 0)
        grid = Table.grid(padding=(0, 1))
        for width in titles:
            grid.add_column(width=width, no_wrap=True)
            grid.add_column(width=values, no_wrap=True, justify="right")
            grid.add_column(width=room, no_wrap=True)
        for (title, value, field), name in zip(self._counts(), QUANTILES, strict=True):
            latency = Text(quantile(self._row.recent, QUANTILES[name]), "bold")
            cells = [Text(title), value, self._line(field, room)]
            grid.add_row(*cells, Text(name), latency, self._line(name, room))
        yield grid

    def _counts(self) -> list[tuple[str, Text, str]]:
        return [
            ("requests", Text(f"{number(self._row.rate)}/s", "bold"), "rate"),
            ("errors", _errors(self._row.recent, "bold"), "error_share"),
            ("in progress", Text(number(self._in_progress), "bold"), "in_progress"),
        ]

    def _line(self, field: str, room: int) -> Text:
        return Text(sparkline([getattr(point, field) for point in self._points], room), "cyan")


class _Fitting:
    """A live table without those last columns of numbers that leave no room for names."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        numbers = max((options.max_width - _NAME) // (_WIDTH + 1), 1)
        shown = copy(self._table)  # the terminal may be wider the next time
        shown.columns = self._table.columns[: 1 + numbers]
        yield shown


def live(traffic: Traffic, order: str) -> RenderableType:
    """Return the tables of URLs, routes, websockets and workers; omit those without rows."""
    key = ORDERS[order]
    routes = sorted(traffic.routes.items(), key=lambda item: key(*item))
    urls = _table(("url", *_REQUESTS))
    reasons = []
    for url, source in traffic.sources.items():
        if source.error is not None:
            urls.add_row(Text.assemble(("down  ", "bold red"), _short(url)))
            reasons.append(Text(f"{_short(url)}: {safe(source.error)}", "red"))
        elif source.latest is None:
            urls.add_row(Text.assemble(("wait  ", "dim"), _short(url)))
        else:
            name = Text.assemble(("up    ", "green"), _short(url))
            urls.add_row(name, *_row(traffic.of(source)))
    tables = [
        _table(
            ("route", *_REQUESTS),
            ([_name(name), *_row(row)] for name, row in routes),
            sorted_by=_COLUMNS[order],
        ),
        _table(
            ("websocket", "open", "recv/s", "sent/s", "ended/s"),
            (
                [_name(name), *_numbers(one.open, one.received, one.sent, one.closed)]
                for name, one in sorted(traffic.sockets.items())
            ),
        ),
        _table(
            ("event loop", "share", *(f"step {name}" for name in QUANTILES)),
            (
                [_name(name), Text(share(part)), *_quantiles(tally)]
                for name, (part, tally) in sorted(
                    traffic.loops.items(), key=lambda item: (-item[1][0], item[0])
                )
            ),
        ),
        _table(
            ("waiting for", *QUANTILES),
            ([_name(name), *_quantiles(tally)] for name, tally in sorted(traffic.waits.items())),
        ),
        _table(
            ("worker", "cpu", "memory", "files"),
            (
                [
                    _worker(url, labels),
                    Text(share(one.cpu)),
                    Text(size(one.memory)),
                    *_numbers(one.files),
                ]
                for (url, labels), one in sorted(traffic.workers.items())
            ),
        ),
    ]
    shown = (Group(_Fitting(one), "") for one in tables if one.row_count)
    return Group(_Fitting(urls), *reasons, "", *shown)


def once(report: dict[str, Any]) -> RenderableType:
    """Return a report as tables."""
    headings = ("requests", "errors", "share", *QUANTILES)

    def row(name: Text, requests: dict[str, Any]) -> list[Text]:
        count, errors = requests["count"], requests["errors"]
        tally = Tally(count or 0.0, math.nan if errors is None else errors)
        times = [Text(duration(requests[name])) for name in QUANTILES]
        numbers = [Text("-" if one is None else f"{one}") for one in (count, errors)]
        return [name, *numbers, _errors(tally), *times]

    urls = _table(("url", *headings), shown=None)
    for one in report["urls"]:
        if one["up"]:
            urls.add_row(*row(_name(one["url"]), one["requests"]))
        else:
            urls.add_row(Text.assemble(safe(one["url"]), (f": {safe(one['error'])}", "red")))
    routes = [row(_name(one["route"]), one) for one in report["routes"]]
    total = row(Text("all"), report["requests"])
    tables = [
        urls,
        _table(("route", *headings), [*routes, total] if routes else [], shown=None),
        _table(
            ("websocket", "open", "received", "sent", "closed"),
            (
                [_name(one["route"])]
                + [Text(f"{one[name]}") for name in ("open", "received", "sent", "closed")]
                for one in report["websockets"]
            ),
            shown=None,
        ),
        _table(
            ("event loop", "seconds", *(f"step {name}" for name in QUANTILES)),
            (
                [_name(one["route"]), Text(duration(one["seconds"]))]
                + [Text(duration(one[name])) for name in QUANTILES]
                for one in report["event_loop"]
            ),
            shown=None,
        ),
        _table(
            ("waiting for", "count", *QUANTILES),
            (
                [_name(one["for"]), Text(f"{one['count']}")]
                + [Text(duration(one[name])) for name in QUANTILES]
                for one in report["waits"]
            ),
            shown=None,
        ),
        _table(
            ("worker", "cpu", "memory", "files"),
            (
                [
                    _worker(one["url"], tuple(one["labels"].items())),
                    Text(duration(one["cpu_seconds"])),
                    Text(size(one["resident_memory_bytes"])),
                    *_numbers(one["open_fds"]),
                ]
                for one in report["workers"]
            ),
            shown=None,
        ),
    ]
    others = [
        f"{title}: {report[name]}"
        for title, name in (("in progress", "in_progress"), ("exceptions", "exceptions"))
        if report[name] is not None
    ]
    timed = [report["requests"], *report["event_loop"], *report["waits"]]
    notes = [Text(_ESTIMATED, "dim")] if any(one["p50"] is not None for one in timed) else []
    shown = (Group(one, "") for one in tables if one.row_count)
    return Group(*shown, *notes, Text(", ".join(others)))


def _table(
    headings: Sequence[str],
    rows: Iterable[Sequence[Text]] = (),
    sorted_by: int | None = None,
    shown: int | None = SHOWN,
) -> Table:
    """Make a table whose first column takes the room that the numbers leave."""
    table = Table(
        box=None, expand=shown is not None, padding=(0, 0, 0, 1), pad_edge=False, header_style="dim"
    )
    for position, heading in enumerate(headings):
        style = "bold reverse" if position == sorted_by else ""
        first = position == 0
        table.add_column(
            Text(heading, style),
            ratio=1 if first and shown is not None else None,
            justify="left" if first else "right",
            min_width=None if first else _WIDTH,
            no_wrap=True,
            overflow="ellipsis",
        )
    every = list(rows)
    for row in every[:shown]:
        table.add_row(*row)
    if len(every) > table.row_count:
        table.add_row(Text(f"and {len(every) - table.row_count} more", "dim"))
    return table


def _row(row: Row) -> list[Text]:
    counts = Text(number(row.rate)), _errors(row.recent)
    return [*counts, *_quantiles(row.recent), Text(number(row.total))]


def _quantiles(tally: Tally) -> list[Text]:
    return [Text(quantile(tally, q)) for q in QUANTILES.values()]


def _errors(tally: Tally, style: str = "") -> Text:
    return Text(share(tally.error_share), "bold red" if tally.errors > 0 else style)


def _numbers(*values: float | None) -> list[Text]:
    return [Text(number(value)) for value in values]


def _name(text: str) -> Text:
    return Text(safe(text[:_LONGEST]))


def _short(url: str) -> str:
    """Return a URL without the parts that the command's argument may omit, too."""
    return safe(url).removeprefix("http://").removesuffix("/metrics")


def _worker(url: str, labels: Labels) -> Text:
    return _name(" ".join([_short(url), *(f"{name}={value}" for name, value in labels)]))
