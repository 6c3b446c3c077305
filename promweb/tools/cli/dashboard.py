"""`promweb dashboard`: a Grafana dashboard on standard output."""

from __future__ import annotations

import json
import re

import click

from ..monitoring.grafana_dashboard import make_dashboard
from ..monitoring.service import Service
from .service_options import service_options

__all__ = ["command"]


_UID = re.compile(r"[a-zA-Z0-9_-]{1,40}")


def _uid(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    if given is not None and not _UID.fullmatch(given):
        raise click.BadParameter(
            f"{given!r}: Grafana takes up to 40 letters, digits, dashes and underscores"
        )
    return given


@click.command("dashboard")
@service_options
@click.option(
    "--multiprocess",
    is_flag=True,
    help="The application runs in worker processes that share a directory: add panels by worker.",
)
@click.option("--title", help="The dashboard's title.", show_default="from the prefix")
@click.option(
    "--uid",
    callback=_uid,
    help="The id of the dashboard in Grafana; importing the same id again replaces it.",
    show_default="from naming, prefix and selector",
)
def command(service: Service, multiprocess: bool, title: str | None, uid: str | None) -> None:
    """Print a Grafana dashboard (JSON) for the metrics of an application.

    Import it in Grafana, or put it where Grafana provisions dashboards from. The options repeat
    the arguments of the application's metrics object that differ from the defaults.
    """
    made = make_dashboard(service, multiprocess=multiprocess, title=title, uid=uid)
    click.echo(json.dumps(made, indent=2))
