"""`promweb top`: watch the numbers of services in a terminal, or print them once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from ...scrapes.http_client import Client, metrics_url
from ...scrapes.parsing import ScrapeError
from ...scrapes.report import report
from ...scrapes.snapshot import Snapshot
from ...scrapes.traffic import ORDERS
from ..terminal import needs, print_tables
from .client_options import with_client

__all__ = ["command"]


def _urls(_ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> list[str]:
    urls = []
    for one in given:
        try:
            urls.append(metrics_url(one))
        except ValueError as error:
            raise click.BadParameter(f"{one!r}: {error}") from error
    if len(set(urls)) < len(urls):
        raise click.BadParameter("the same URL twice would count twice")
    return urls


@click.command(name="top", short_help="Watch services in a terminal.")
@click.argument("urls", metavar="URL...", nargs=-1, required=True, callback=_urls)
@click.option("--once", is_flag=True, help="Print totals since the start, from one scrape.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    help="The format of --once; text by default.",
)
@click.option(
    "--interval",
    type=click.FloatRange(0.1),
    default=2.0,
    show_default=True,
    help="Seconds between two scrapes.",
)
@click.option(
    "--window",
    type=click.FloatRange(1, 3600),
    default=10.0,
    show_default=True,
    help="Rates, shares and quantiles cover this many seconds.",
)
@click.option(
    "--sort",
    "order",
    type=click.Choice(list(ORDERS)),
    default="rate",
    show_default=True,
    help="How to sort the routes at first.",
)
@click.option("--prefix", help="The prefix of the families' names, if a scrape has several.")
@click.option("--group", help="The label with the route, if promweb cannot tell it.")
@with_client
def command(
    urls: list[str],
    once: bool,
    form: str | None,
    interval: float,
    window: float,
    order: str,
    prefix: str | None,
    group: str | None,
    client: Client,
) -> None:
    """Show rates, errors and latencies of services, in total and by route.

    URL is a service's metrics endpoint. http:// and /metrics may be left out.

    Exit codes: 0 if a URL could be read, 1 if none could, 2 for wrong usage.
    """
    if form is not None and not once:
        raise click.UsageError("--format is the format of --once; give --once, too")

    def read(url: str) -> Snapshot | str:
        try:
            return Snapshot.of(client.scrape(url), prefix, group)
        except ScrapeError as error:
            return str(error)

    if once:
        found = _print_once(urls, read, form)
    else:
        found = _watch(urls, read, interval=interval, window=window, order=order)
    sys.exit(0 if found else 1)


def _print_once(urls: list[str], read: Callable[[str], Snapshot | str], form: str | None) -> bool:
    with ThreadPoolExecutor(len(urls)) as pool:
        outcomes = dict(zip(urls, pool.map(read, urls), strict=True))
    made = report(outcomes)
    if form == "json":
        click.echo(json.dumps(made, indent=2, allow_nan=False))
    else:
        _print_text(made)
    return any(isinstance(outcome, Snapshot) for outcome in outcomes.values())


def _print_text(made: dict[str, Any]) -> None:
    with needs("rich"):
        from ..top.tables import once

        print_tables(once(made))


def _watch(
    urls: list[str],
    read: Callable[[str], Snapshot | str],
    *,
    interval: float,
    window: float,
    order: str,
) -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("standard output is not a terminal; print once with --once")
    with needs("textual", "rich"):
        from ..top.screen import TopApp
    app = TopApp(urls, read, interval=interval, window=window, order=order)
    app.run()
    return app.ever_up
