"""`promweb doctor --prometheus`: how a server treats native histograms, by its settings."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from click.testing import CliRunner

from promweb import PrometheusMetrics
from promweb.core.native.advice import how_to_keep_classic, in_short
from promweb.scrapes.parsing import ScrapeError
from promweb.tools.cli.group import cli
from promweb.tools.doctor.findings import Level
from promweb.tools.doctor.prometheus_server import check_prometheus
from tests.support.legs import Leg

OK, WARNING, ERROR = Level.OK, Level.WARNING, Level.ERROR
CONFIG = "global: {scrape_interval: 1m}\nscrape_configs:\n- job_name: shop\n"
KEEP = "  always_scrape_classic_histograms: true\n"
KEEP_2 = "  scrape_classic_histograms: true\n"
TAKE = "  scrape_native_histograms: true\n"
NATIVE, ZERO = "native-histograms", "created-timestamp-zero-ingestion"


def found(version: str, features: str = "", config: str = CONFIG) -> dict[str, Level]:
    """Return the level of each finding; every one but an ok says why and what to do."""
    answers: dict[str, Any] = {
        "status/buildinfo": {"version": version},
        "status/flags": {"enable-feature": features},
        "status/config": {"yaml": config},
    }
    levels = {}
    for finding in check_prometheus("http://prometheus", answers.__getitem__):
        assert finding.level is OK or (finding.why and finding.remedy)
        levels[finding.check] = finding.level
    return levels


@pytest.mark.parametrize(
    ("version", "features", "more", "expected"),
    [
        ("2.39.1", NATIVE, "", {"native-histograms": WARNING}),
        ("2.42.0+ds", "", "", {"native-histograms": WARNING}),
        ("2.42.0+ds", NATIVE, "", {"classic-series": WARNING}),
        ("2.45.0", f"exemplar-storage,{NATIVE}", "", {"classic-series": WARNING}),
        ("2.45.0", NATIVE, KEEP_2, {"prometheus": OK}),
        ("2.53.0", NATIVE, KEEP, {"classic-series": WARNING}),
        ("3.5.3", NATIVE, KEEP, {"prometheus": OK}),
        ("3.5.3", NATIVE, KEEP_2, {"classic-series": WARNING}),
        ("3.5.3", "", "", {"native-histograms": WARNING}),
        ("3.5.3", ZERO, "", {"native-histograms": WARNING, "protobuf-without-native": ERROR}),
        (
            "3.5.3",
            "",
            "  scrape_protocols: [PrometheusProto, PrometheusText0.0.4]\n",
            {"native-histograms": WARNING, "protobuf-without-native": ERROR},
        ),
        ("3.8.0", NATIVE, KEEP, {"prometheus": OK}),
        ("3.8.0", "", TAKE + KEEP, {"prometheus": OK}),
        ("3.9.0", NATIVE, KEEP, {"native-histograms": WARNING}),
        ("3.9.0", NATIVE, TAKE + KEEP, {"prometheus": OK}),
        ("4.0.0", "", TAKE, {"classic-series": WARNING}),
    ],
)
def test_each_version_has_its_settings(
    version: str, features: str, more: str, expected: dict[str, Level]
) -> None:
    assert found(version, features, CONFIG + more) == expected


def test_what_is_global_holds_for_each_job() -> None:
    config = (
        "global: {scrape_native_histograms: true, always_scrape_classic_histograms: true}\n"
        "scrape_configs: [{job_name: a}, {job_name: b, scrape_native_histograms: false}]\n"
    )
    assert found("3.9.0", "", config) == {"native-histograms": WARNING}
    assert found("3.9.0", "", "") == {"prometheus": OK}


def test_jobs_are_named_but_not_endlessly() -> None:
    config = "scrape_configs: [" + ",".join(f"{{job_name: j{n}}}" for n in range(9)) + "]"
    answers: dict[str, Any] = {
        "status/buildinfo": {"version": "3.9.0"},
        "status/flags": {},
        "status/config": {"yaml": config},
    }
    (finding,) = check_prometheus("http://prometheus", answers.__getitem__)
    assert "of the jobs j0, j1, j2, j3, j4 and 4 more." in finding.what


def test_what_is_no_prometheus() -> None:
    def refuse(path: str) -> Any:
        raise ScrapeError("Connection refused")

    assert [one.check for one in check_prometheus("http://x", refuse)] == ["prometheus"]
    (finding,) = check_prometheus("http://x", lambda path: None)
    assert finding.level is ERROR
    assert found("unknown") == {"prometheus": ERROR}


@contextmanager
def serving(answers: dict[str, bytes]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path, b"")
            self.send_response(200 if body else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_command_asks_the_server() -> None:
    data = {
        "/api/v1/status/buildinfo": {"version": "3.5.3"},
        "/api/v1/status/flags": {"enable-feature": ZERO},
        "/api/v1/status/config": {"yaml": CONFIG},
    }
    answers = {path: json.dumps({"data": answer}).encode() for path, answer in data.items()}
    with serving(answers) as address:
        result = CliRunner().invoke(cli, ["doctor", "--prometheus", address, "--format", "json"])
    assert result.exit_code == 2
    checks = [finding["check"] for finding in json.loads(result.output)["findings"]]
    assert checks == ["protobuf-without-native", "native-histograms"]
    with serving(dict.fromkeys(answers, b"<html>")) as address:
        result = CliRunner().invoke(cli, ["doctor", "--prometheus", f"http://{address}/"])
    assert "the answer is not JSON" in " ".join(result.output.split())
    result = CliRunner().invoke(cli, ["doctor", "--prometheus", "ftp://x"])
    assert result.exit_code == 2


def test_start_up_says_what_to_set_once(leg: Leg, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "promweb")
    app = leg.make_app()
    metrics = leg.make_metrics(app, native_histograms=True)
    metrics.histogram("h", "d", native_histograms=True)
    said = [record for record in caplog.records if in_short() in record.getMessage()]
    assert [record.levelname for record in said] == ["INFO"]


def test_start_up_says_nothing_without(leg: Leg, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "promweb")
    leg.make_metrics(leg.make_app())
    assert caplog.records == []


def test_an_application_with_native_histograms_is_told_what_to_set() -> None:
    from flask import Flask
    from prometheus_client import CollectorRegistry

    from promweb.tools.doctor.application import check_application

    def load() -> Flask:
        app = Flask("shop")
        PrometheusMetrics(app, registry=CollectorRegistry(), native_histograms=True)
        return app

    levels = {finding.check: finding.level for finding in check_application(load)}
    assert levels["native-histograms"] is OK
    assert set(levels.values()) == {OK}


def test_what_keeps_classic_series() -> None:
    assert "before 2.45" in how_to_keep_classic((2, 42))
    assert "scrape_classic_histograms: true" in how_to_keep_classic((2, 50))
