"""`promweb doctor`: checks an environment, an application or a running service."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click

from ...core.families.storage import shared_directory
from ...scrapes.http_client import Client, metrics_url
from ...scrapes.parsing import ScrapeError
from ..doctor.findings import Finding, Findings, Level
from ..terminal import safe
from .client_options import with_client

__all__ = ["command"]

_MESSAGES = "on the page Messages of promweb's documentation (docs/messages.md)"

_ADDRESS = re.compile(r"\w+://|\[[0-9a-fA-F:]+\]|[^:/\s]+:\d+(/|$)")
"""An address has a scheme or a port. Behind the colon of an application there is a name."""

_ROUNDS = 3
_AT_ONCE = 4
"""Scrapes at the same time, so that a second worker has to answer."""

_LEVELS = list(Level)
_WIDTH = 100
_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


def _url(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    try:
        return None if given is None else metrics_url(given)
    except ValueError as error:
        raise click.BadParameter(f"{given!r}: {error}") from error


def _server(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    try:
        return None if given is None else metrics_url(given).removesuffix("/metrics").rstrip("/")
    except ValueError as error:
        raise click.BadParameter(f"{given!r}: {error}") from error


@click.command(name="doctor", short_help="Find problems, and say how to fix them.")
@click.argument("target", metavar="[MODULE:APP|URL]", required=False)
@click.option("--app", metavar="MODULE:APP", help="The same as the argument.")
@click.option(
    "--url",
    metavar="URL",
    callback=_url,
    help="Scrape a running service a few times and compare; the same as the argument.",
)
@click.option(
    "--prometheus",
    metavar="URL",
    callback=_server,
    help="Ask this Prometheus whether it takes native histograms, and which series it drops.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print the findings.",
)
@with_client
@click.pass_context
def command(
    ctx: click.Context,
    target: str | None,
    app: str | None,
    url: str | None,
    prometheus: str | None,
    form: str,
    client: Client,
) -> None:
    """Find problems with metrics; print why each matters and how to fix it.

    With MODULE:APP or MODULE:create_app() it imports an application and checks it; `flask promweb
    doctor` and `quart promweb doctor` check the framework's own. With a URL such as localhost:5000
    it scrapes a running service, with --prometheus it asks that server. Without any of these it
    checks the environment alone. Run it with the environment of the service.

    Exit codes: 0 if all is well, 1 for warnings, 2 for errors and wrong usage.
    """
    if target and _ADDRESS.match(target):
        if url is not None:
            raise click.UsageError("the service is given twice; leave out --url")
        url, target = _url(ctx, ctx.command.params[0], target), None
    if target and app and target != app:
        raise click.UsageError("the application is given twice; leave out --app")
    target = target or app
    elsewhere = url or prometheus
    load = _loader(ctx, target) if target or not elsewhere else None
    findings: list[Finding] = []
    if not elsewhere or target is not None:
        findings += _look_at_environment()
    if load is not None:
        from ..doctor.application import check_application

        findings += check_application(load)
    if url is not None:
        findings += _look_at_service(client, url)
    if prometheus is not None:
        from ..doctor.prometheus_server import check_prometheus

        findings += check_prometheus(
            prometheus, lambda path: client.json(f"{prometheus}/api/v1/{path}")["data"]
        )
    findings = sorted(dict.fromkeys(findings), key=lambda finding: -_LEVELS.index(finding.level))
    _print(findings, form)
    sys.exit(max(_LEVELS.index(finding.level) for finding in findings))


def _loader(ctx: click.Context, target: str | None) -> Callable[[], Any] | None:
    """Return a function that loads the application; None if there is no application."""
    if target is not None:
        from ..loading.targets import find

        return partial(find, target)
    # `flask` and `quart` pass this on to their commands.
    load: Callable[[], Any] | None = getattr(ctx.find_root().obj, "load_app", None)
    return load


def _look_at_environment() -> Findings:
    from ..doctor.environment import check_mode, check_variable

    directory = shared_directory()
    yield from check_variable(os.environ)
    yield from check_mode(os.environ, Path.cwd(), is_shared=directory is not None)
    if directory is not None:
        from ..doctor.directory import check_directory

        yield from check_directory(directory)


def _look_at_service(client: Client, url: str) -> Findings:
    from ..doctor.running_service import Outcome, check_scrapes

    def scrape(_: int) -> Outcome:
        begin = time.monotonic()
        try:
            result: Any = client.scrape(url)
        except ScrapeError as error:
            result = error
        return Outcome(result, time.monotonic() - begin)

    rounds: list[Sequence[Outcome]] = [[scrape(0)]]
    if not isinstance(rounds[0][0].result, ScrapeError):
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            rounds += [list(pool.map(scrape, range(_AT_ONCE))) for _ in range(_ROUNDS)]
    return check_scrapes(url, rounds, client.timeout)


def _print(findings: Sequence[Finding], form: str) -> None:
    if form == "json":
        made = [
            {
                "check": finding.check,
                "level": finding.level.value,
                "what": finding.what,
                "why": finding.why,
                "remedy": finding.remedy,
            }
            for finding in findings
        ]
        click.echo(json.dumps({"version": 1, "findings": made}, indent=2))
        return
    for finding in findings:
        click.echo("\n".join(_lines(finding)))
    if any(finding.level is not Level.OK for finding in findings):
        click.echo(f"\nCauses and remedies of all messages are {_MESSAGES}.")


def _lines(finding: Finding) -> Iterable[str]:
    label = f"{finding.level.value:8}"
    first, *more = _wrapped(finding.what)
    yield click.style(label, fg=_COLOURS[finding.level], bold=True) + first
    yield from (" " * len(label) + line for line in more)
    for text in (finding.why, finding.remedy and f"-> {finding.remedy}"):
        yield from (" " * len(label) + line for line in _wrapped(text))


def _wrapped(text: str) -> list[str]:
    """Return lines; escape text that came from the service."""
    return textwrap.wrap(safe(text), _WIDTH - 8, break_long_words=False, break_on_hyphens=False)
