"""`promweb diff`: which queries break when a new service replaces an old one."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import click

from ...scrapes.http_client import Client, metrics_url
from ...scrapes.parsing import ScrapeError
from ..diff.comparison import compare, compare_traffic
from ..diff.differences import Difference, Level, Usage
from ..diff.output import as_json, github_lines, summary, table
from ..diff.replay import replay
from ..diff.sides import Side
from ..diff.sources import Source, read_all
from ..promql.files import Query, read_file
from ..replay.requests_file import Request, read_requests
from ..replay.sender import Sender, is_loopback
from ..terminal import needs, print_tables, safe
from .app_option import loaded
from .client_options import with_client

__all__ = ["command"]

_PAUSE = 0.1
"""Seconds between two scrapes: a service counts a request shortly after it has answered."""


def _sources(
    _ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> list[Source]:
    sources = []
    for one in given:
        try:
            sources.append(Source.of(one))
        except ValueError as error:
            raise click.BadParameter(f"{one!r}: {error}") from error
    return sources


def _files(
    _ctx: click.Context, _parameter: click.Parameter, given: tuple[Path, ...]
) -> dict[str, Sequence[Query]]:
    try:
        with needs("PyYAML", "yaml"):
            return {str(path): read_file(path) for path in given}
    except ValueError as error:
        raise click.BadParameter(f"{', '.join(map(str, given))}: {error}") from error


def _origin(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    try:
        return None if given is None else metrics_url(given)
    except ValueError as error:
        raise click.BadParameter(f"{given!r}: {error}") from error


class _NotComparedError(click.ClickException):
    exit_code = 2


@dataclass(frozen=True)
class _Replay:
    """The requests to send, where to send them, and how fast."""

    requests: Sequence[Request]
    old: Sender
    new: Sender
    rate: float


@click.command("diff", short_help="Show what a new service breaks.")
@click.argument("sources", metavar="[OLD] [NEW]", nargs=-1, callback=_sources)
@click.option("--old", multiple=True, callback=_sources, help="Another service of OLD.")
@click.option("--new", multiple=True, callback=_sources, help="Another service of NEW.")
@click.option(
    "--app",
    metavar="MODULE:APP",
    help="NEW is this application, loaded as flask --app loads it; it gets no requests.",
)
@click.option(
    "--used",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_files,
    help="A Grafana dashboard (JSON) or Prometheus rules (YAML): report the series that they find "
    "in OLD and not in NEW.",
)
@click.option("--values", is_flag=True, help="Both got the same requests: compare numbers, too.")
@click.option(
    "--replay",
    "replayed",
    type=click.File(errors="replace"),
    help="A list of requests or an access log: send them to OLD and to NEW, and compare what each "
    "counted.",
)
@click.option("--replay-old", metavar="URL", callback=_origin, help="Where to send OLD's requests.")
@click.option("--replay-new", metavar="URL", callback=_origin, help="Where to send NEW's requests.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=("GET", "HEAD"),
    show_default=True,
    help="A method to send, in place of these two; requests with other methods are left out. Give "
    "the option once for each method.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    help="Send at most this many requests to each.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 1000),
    default=50.0,
    show_default=True,
    help="Send at most this many requests per second to each.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="How to print the differences.",
)
@with_client
def command(
    sources: list[Source],
    old: list[Source],
    new: list[Source],
    app: str | None,
    files: dict[str, Sequence[Query]],
    values: bool,
    replayed: IO[str] | None,
    replay_old: str | None,
    replay_new: str | None,
    methods: tuple[str, ...],
    limit: int,
    rate: float,
    form: str,
    client: Client,
) -> None:
    """Show which queries of dashboards and alerts a move from OLD to NEW would break.

    OLD and NEW are a URL with metrics, a file with an exposition, or - for standard input. Queries
    break where a name, type, label, bucket or sample is gone. A label value or a series may be
    gone because the traffic was different; with --values it was the same, so queries break.

    Exit codes: 0 if nothing breaks, 1 if something does, 2 if it could not be compared.
    """
    if app is not None and (new or replayed or values or len(sources) > 1):
        raise click.UsageError(
            "--app is NEW and gets no requests; leave out --new, --values and --replay"
        )
    old, new = _sides(sources, old, new, app)
    try:
        plan = None
        if replayed is not None:
            senders = _senders(client, old, new, replay_old, replay_new)
            plan = _Replay(_requests(replayed, methods, limit), senders[0], senders[1], rate)
        elif replay_old or replay_new:
            raise click.UsageError("--replay-old and --replay-new need --replay")
        with needs("promql-parser", "promql_parser"):
            if app is None:
                found, usage = _compare(client, old, new, files, values, plan)
            else:
                found, usage = _compare_app(client, old, app, files)
    except ScrapeError as error:
        raise _NotComparedError(safe(str(error))) from error
    sides = [one.given for one in old], [app] if app else [one.given for one in new]
    _print(found, usage, form, *sides)
    sys.exit(_exit_code(found))


def _sides(
    sources: list[Source], old: list[Source], new: list[Source], app: str | None
) -> tuple[list[Source], list[Source]]:
    """Return the services of both sides; arguments fill the sides without an option, OLD first."""
    if len(sources) > 2:
        raise click.UsageError(
            "more than two services are given; give OLD and NEW, others with --old and --new"
        )
    if len(sources) == 2:
        old, new = [sources[0], *old], [sources[1], *new]
    elif sources and (not old or app):
        old = [*sources, *old]
    elif sources and not new:
        new = sources
    elif sources:
        raise click.UsageError(f"is {sources[0].given} OLD or NEW? Give it with --old or --new")
    if not (old and (new or app)):
        raise click.UsageError(f"{'NEW' if old else 'OLD'} is missing; give a URL, a file or -")
    everything = [*old, *new]
    if sum(source.given == "-" for source in everything) > 1:
        raise click.UsageError("standard input can be read only once")
    for side in (old, new):
        if len({source.given for source in side}) < len(side):
            raise click.UsageError("the same service is given twice and would count twice")
    return old, new


def _requests(replayed: IO[str], methods: Sequence[str], limit: int) -> list[Request]:
    found = read_requests(replayed, {method.upper() for method in methods}, limit)
    wanted = " ".join(f"--method {method}" for method in [*methods, *sorted(found.methods)])
    notes = [
        f"Requests with {method} that are left out: {count}. To send them, too, write {wanted}."
        for method, count in sorted(found.methods.items())
    ]
    notes += [
        f"Requests with {method} that are sent without a body: {count}. A line of JSON may have "
        "one as json, form or body."
        for method, count in sorted(found.empty.items())
    ]
    if found.unreadable:
        notes.append(f"Lines that are not requests: {found.unreadable}.")
    if found.surplus:
        notes.append(f"Requests that --limit leaves out: {found.surplus}.")
    notes.append(f"Requests that each side gets: {len(found.sent)}.")
    for note in notes:
        click.echo(f"Note: {note}", err=True)
    if not found.sent:
        raise click.UsageError(f"{replayed.name} has no request with an allowed method (--method)")
    return found.sent


def _senders(
    client: Client, old: list[Source], new: list[Source], *given: str | None
) -> list[Sender]:
    """Return where to send requests: to the URLs of the metrics, if they are on this machine."""
    senders = []
    for name, side, told in zip(("old", "new"), (old, new), given, strict=True):
        if any(source.url is None for source in side):
            raise click.UsageError("--replay needs running services; give URLs")
        url = told
        if url is None:
            if len(side) > 1:
                raise click.UsageError(
                    f"several services could get the requests; choose one with --replay-{name}"
                )
            url = side[0].url
            assert url is not None
            if not is_loopback(url):
                raise click.UsageError(
                    f"{side[0].given} is not on this machine; to send it the requests of "
                    f"--replay, write --replay-{name} {side[0].given}"
                )
        senders.append(Sender(url, timeout=client.timeout, context=client.context))
    return senders


def _compare(
    client: Client,
    old: list[Source],
    new: list[Source],
    files: dict[str, Sequence[Query]],
    values: bool,
    plan: _Replay | None,
) -> tuple[list[Difference], Usage | None]:
    def read() -> list[Side]:
        return [Side(read_all(side, client)) for side in (old, new)]

    sides = read()
    _refuse_nothing(sides[0])
    replayed: list[Difference] = []
    if plan is not None:
        answers = list(replay(plan.requests, plan.old, plan.new, rate=plan.rate))
        before, deadline = sides, time.monotonic() + client.timeout
        while True:
            sides = read()
            replayed = compare_traffic(before, sides)
            if not _breaks(replayed) or time.monotonic() > deadline:
                break
            time.sleep(_PAUSE)
        replayed = [*answers, *replayed]
    found, usage = compare(sides[0], sides[1], files, same_traffic=values)
    order = list(Level)
    found = sorted(dict.fromkeys([*replayed, *found]), key=lambda one: order.index(one.level))
    return found, usage


def _compare_app(
    client: Client, old: list[Source], app: str, files: dict[str, Sequence[Query]]
) -> tuple[list[Difference], Usage | None]:
    from ..loading.exposed import side_of

    side = Side(read_all(old, client))
    _refuse_nothing(side)
    with loaded(app) as application:
        return compare(side, side_of(application), files, same_traffic=False)


def _refuse_nothing(side: Side) -> None:
    """Raise ScrapeError if OLD is empty: comparing would find no difference."""
    if not side.compared:
        raise ScrapeError("OLD exposes no metrics of an application")


def _breaks(found: Sequence[Difference]) -> bool:
    return any(one.level is Level.BREAKS for one in found)


def _exit_code(found: Sequence[Difference]) -> int:
    if _breaks(found):
        return 1
    return 2 if any(one.level is Level.UNREAD for one in found) else 0


def _print(
    found: Sequence[Difference],
    usage: Usage | None,
    form: str,
    old: Sequence[str],
    new: Sequence[str],
) -> None:
    if form == "json":
        click.echo(as_json(found, old=old, new=new, used=usage and asdict(usage)))
        return
    if form == "github":
        for line in github_lines(found):
            click.echo(safe(line))
    elif found:
        with needs("rich"):
            print_tables(table(found))
    click.echo(summary(found))
    if usage is not None:
        click.echo(str(usage))
