"""`promweb rules`: recording and alerting rules for Prometheus on standard output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ..monitoring.prometheus_rules import make_rules, shortest_window, windows
from ..monitoring.service import Service, duration_text
from .service_options import duration, service_options

__all__ = ["command"]

_SCRAPES = 4
"""How many scrapes a window should hold, so that one that fails does not empty it."""


@click.command("rules")
@service_options
@click.option(
    "--window",
    metavar="DURATION",
    callback=duration,
    default="30d",
    show_default=True,
    help="The period of the objectives; the windows of the alerts are in proportion to it.",
)
@click.option(
    "--scrape-interval",
    metavar="DURATION",
    callback=duration,
    default="1m",
    show_default=True,
    help="How often Prometheus scrapes the application; the shortest window needs four scrapes.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    help="How many requests an instance can work on at once; adds an alert for 80 % of it.",
)
def command(service: Service, window: int, scrape_interval: int, concurrency: int | None) -> None:
    """Print recording and alerting rules (YAML) for the metrics of an application.

    Put them in a file that rule_files of Prometheus' configuration names. Say what the
    application's metrics object was given, where that is not the default.
    """
    shortest = shortest_window(window)
    if shortest < _SCRAPES * scrape_interval:
        raise click.BadParameter(
            f"the shortest window is {duration_text(shortest) or '0s'}, which is less than "
            f"{_SCRAPES} scrapes in intervals of {duration_text(scrape_interval)}. Give a longer "
            "window, or the interval with --scrape-interval if it is shorter",
            param_hint="--window",
        )
    for note in _notes(service, window):
        click.echo(f"Note: {note}", err=True)
    click.echo(
        "# Recording and alerting rules for Prometheus.\n"
        "# Made by `promweb rules`. Print them again rather than editing them."
    )
    click.echo(_yaml(make_rules(service, period=window, concurrency=concurrency)), nl=False)


def _notes(service: Service, period: int) -> Iterator[str]:
    for option, objective in (("--slo", service.errors), ("--latency-slo", service.latency)):
        for pair in windows(period):
            if objective and not pair.can_fire(objective):
                yield (
                    f"{option} {objective.percent} leaves out the alert for "
                    f"{duration_text(pair.long)}: no share of bad requests can be {pair.factor} "
                    f"times {objective.budget:.0%}."
                )


def _yaml(rules: Any) -> str:
    try:
        import yaml
    except ModuleNotFoundError:
        raise click.ClickException(
            "the rules are written with PyYAML. Install it with: pip install 'promweb[cli]'"
        ) from None

    class Dumper(yaml.SafeDumper):
        """Writes expressions of several lines as blocks, as people do."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(rules, Dumper=Dumper, sort_keys=False, width=float("inf"), allow_unicode=True)
