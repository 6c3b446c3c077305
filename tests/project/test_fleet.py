"""A real Prometheus finds and scrapes instances on both frameworks, and says what was sent."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from examples.fleet import __main__ as command
from examples.fleet.checks import Check, quantile
from examples.fleet.fleet import ERRANDS, INSTANCES, Fleet, fleet, instance
from examples.fleet.prometheus import Prometheus
from tests.support.needs import program
from tests.support.paths import ROOT
from tests.support.running import run
from tests.support.waiting import becomes


class Ready(NamedTuple):
    """A fleet that has been compared."""

    fleet: Fleet
    directory: Path
    checks: dict[str, Check]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, prometheus_program: str) -> Iterator[Ready]:
    directory = tmp_path_factory.mktemp("fleet")
    with fleet(prometheus_program, directory) as running:
        checks = {check.what: check for check in command.compare(running)}
        yield Ready(running, directory, checks)


def test_prometheus_says_what_was_sent(ready: Ready) -> None:
    assert [check for check in ready.checks.values() if not check.holds] == []
    exact = {name: check.found for name, check in ready.checks.items() if "request" in name}
    del exact["rule: requests a second"]
    assert exact == {"requests": 300, **{f"requests to {name}": 100 for name in INSTANCES}}
    assert ready.checks["errors"].found == 15
    assert ready.checks["rule: share of errors"].found == pytest.approx(0.05, rel=0.12)
    assert set(ready.fleet.prometheus.ask("up", "framework")) == {"flask", "quart"}


def test_prometheus_had_no_trouble(ready: Ready) -> None:
    prometheus = ready.fleet.prometheus
    assert prometheus.ask("min_over_time(up[5m])") == dict.fromkeys(INSTANCES, 1.0)
    targets = prometheus.get("targets")["activeTargets"]
    assert [target["lastError"] for target in targets] == [""] * len(INSTANCES)
    counts = dict(
        line.rsplit(" ", 1)
        for line in prometheus.read("/metrics").decode().splitlines()
        if re.match(r"prometheus_target_scrapes_\w+_total |prometheus_rule_\w+_failures", line)
    )
    assert {name.partition("_sample_")[2] for name in counts} >= {
        "duplicate_timestamp_total",
        "out_of_bounds_total",
        "out_of_order_total",
    }
    assert any(name.startswith("prometheus_rule") for name in counts)
    assert {name: value for name, value in counts.items() if value != "0"} == {}
    assert prometheus.complaints() == []


def test_instances_come_and_go(ready: Ready) -> None:
    def found() -> set[str]:
        return set(ready.fleet.prometheus.ask("up == 1"))

    with instance("quart-2", "quart", ready.directory / "targets"):
        becomes(found, {*INSTANCES, "quart-2"})
    becomes(found, set(INSTANCES))
    assert ready.fleet.prometheus.complaints() == []


def test_promtool_finds_nothing(ready: Ready) -> None:
    for what, file in (("config", "prometheus.yml"), ("rules", "rules.yml")):
        done = run([program("promtool"), "check", what, ready.directory / file])
        assert (done.returncode, done.stderr) == (0, "")
        assert "WARNING" not in done.stdout
        assert "rules found" in done.stdout


def test_the_rules_of_the_document_are_those_that_were_tested() -> None:
    document = (ROOT / "docs/deployment.md").read_text()
    excerpts = re.findall(r"```yaml\n( +- record.*?)```", document, re.DOTALL)
    rules = (ROOT / "examples/fleet/rules.yml").read_text()
    assert len(excerpts) == 2
    assert [excerpt for excerpt in excerpts if excerpt not in rules] == []


def test_quantiles_are_those_of_histogram_quantile() -> None:
    # By hand: 85 of 100 are in the buckets up to 0.25, and 15 in the one from there to 0.5.
    seconds = [errand.takes for errand in ERRANDS for _ in range(errand.times)]
    assert quantile(0.95, seconds) == pytest.approx(0.25 + 0.25 * 10 / 15)
    assert quantile(0.75, seconds) == pytest.approx(0.1 + 0.15 * 15 / 25)
    assert quantile(0.6, seconds) == pytest.approx(0.005)
    assert quantile(1, seconds) == 0.5


def test_scrapes_that_began_are_over_once_the_fleet_is_settled() -> None:
    """Prometheus gives their samples the time at which they began, whatever they read later."""
    scraped = iter([99.8, 100.0, 100.3])

    class Scraping(Prometheus):
        def value(self, query: str) -> float:
            if query == "vector(time())":
                return 100.0
            return next(scraped) if "timestamp" in query else 12.0

    assert Fleet({}, Scraping("", Path())).settle(12) == 100.0
    assert list(scraped) == []


@pytest.mark.parametrize("found", [0.9, 2.1, float("nan")])
def test_a_check_fails_for_what_was_not_sent(
    found: float, capsys: pytest.CaptureFixture[str]
) -> None:
    check = Check("requests", "a query", 1, 2, found)
    assert not check.holds
    command.show([check])
    assert "WRONG" in capsys.readouterr().out


def test_the_command_ends_by_itself(
    prometheus_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(prometheus_program).parent), prepend=os.pathsep)
    done = run([sys.executable, "-m", "examples.fleet", "--once"])
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "Prometheus has no complaint." in done.stdout


def test_without_prometheus_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert command.main([]) == 2
    assert "apt-get install prometheus" in capsys.readouterr().out
