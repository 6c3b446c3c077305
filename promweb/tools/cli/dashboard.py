"""`promweb dashboard`: a Grafana dashboard on standard output."""

from __future__ import annotations

import json

import click

from ..monitoring.grafana_dashboard import make_dashboard
from ..monitoring.service import Service
from .service_options import service_options

__all__ = ["command"]


@click.command("dashboard")
@service_options
@click.option(
    "--multiprocess",
    is_flag=True,
    help="The application runs in worker processes that share a directory: panels for each.",
)
def command(service: Service, multiprocess: bool) -> None:
    """Print a Grafana dashboard (JSON) for the metrics of an application.

    Import it in Grafana, or put it where Grafana provisions dashboards from. Say what the
    application's metrics object was given, where that is not the default.
    """
    click.echo(json.dumps(make_dashboard(service, multiprocess=multiprocess), indent=2))
