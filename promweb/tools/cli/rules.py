"""`promweb rules`: recording and alerting rules for Prometheus on standard output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from click.core import ParameterSource

from ..monitoring.prometheus_rules import make_rules, shortest_window, windows
from ..monitoring.service import Service, duration_text
from ..terminal import needs
from .service_options import duration, service_options

__all__ = ["command"]

_SCRAPES = 4
"""A window holds at least this many scrapes, so that one failed scrape does not empty it."""


@click.command("rules")
@service_options
@click.option(
    "--window",
    metavar="DURATION",
    callback=duration,
    default="30d",
    show_default=True,
    help="The period of the objectives; the alerts' windows grow and shrink with it.",
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
    help="How many requests an instance can handle at once; adds an alert at 80 % of it.",
)
@click.option(
    "--minimum-rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="REQUESTS",
    help="Requests per second below which no alert on an objective fires: among few requests, one "
    "error is a large share.",
)
def command(
    service: Service,
    window: int,
    scrape_interval: int,
    concurrency: int | None,
    minimum_rate: float | None,
) -> None:
    """Print recording and alerting rules (YAML) for the metrics of an application.

    Put them in a file that rule_files of Prometheus' configuration names. The options repeat the
    arguments of the application's metrics object that differ from the defaults.
    """
    _check_window(window, scrape_interval)
    for note in _notes(service, window, concurrency):
        click.echo(f"Note: {note}", err=True)
    click.echo(
        "# Recording and alerting rules for Prometheus.\n"
        "# Made by `promweb rules`. Print them again rather than editing them."
    )
    rules = make_rules(service, period=window, concurrency=concurrency, minimum_rate=minimum_rate)
    click.echo(_yaml(rules), nl=False)


def _check_window(window: int, interval: int) -> None:
    """Raise BadParameter if a window holds too few scrapes; name the option to change."""
    shortest = shortest_window(window)
    if shortest >= _SCRAPES * interval:
        return
    told = [
        f"--{option.replace('_', '-')}"
        for option in ("window", "scrape_interval")
        if click.get_current_context().get_parameter_source(option) is not ParameterSource.DEFAULT
    ]
    longest = duration_text(shortest // _SCRAPES)
    remedy = {
        "--window": f"Give a longer --window; or, if Prometheus scrapes at least every "
        f"{longest or '1s'}, give --scrape-interval {longest or '1s'}",
        "--scrape-interval": "Scrape more often, or give a longer --window than "
        f"{duration_text(window)}",
    }
    raise click.BadParameter(
        f"the shortest window of an objective over {duration_text(window)} is "
        f"{duration_text(shortest) or '0s'}, which is less than {_SCRAPES} scrapes in intervals of "
        f"{duration_text(interval)}. {remedy[told[-1]]}",
        param_hint=" and ".join(told),
    )


def _notes(service: Service, period: int, concurrency: int | None) -> Iterator[str]:
    if concurrency is not None and "in_progress" not in service.measured:
        yield (
            f"--concurrency {concurrency} omits its alert: the application does not have "
            "in_progress=True."
        )
    for option, objective in (("--slo", service.errors), ("--latency-slo", service.latency)):
        for pair in windows(period):
            if objective and not pair.can_fire(objective):
                yield (
                    f"{option} {objective.percent} omits the alert for "
                    f"{duration_text(pair.long)}: a share of bad requests cannot be {pair.factor} "
                    f"times {objective.budget:.0%}."
                )


def _yaml(rules: Any) -> str:
    with needs("PyYAML", "yaml"):
        import yaml

    class Dumper(yaml.SafeDumper):
        """Writes expressions of several lines as blocks, as people do."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(rules, Dumper=Dumper, sort_keys=False, width=float("inf"), allow_unicode=True)
