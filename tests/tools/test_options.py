"""Options of `promweb dashboard`, `rules` and `top` that a newcomer stumbled over."""

from __future__ import annotations

import json
import re
import shlex
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from promweb.scrapes.parsing import ScrapeError, parse
from promweb.scrapes.report import report
from promweb.scrapes.snapshot import Snapshot
from tests.support import running
from tests.support.needs import program
from tests.support.paths import ROOT
from tests.support.waiting import DEADLINE

from .diffing import printed, run

pytest.importorskip("promql_parser")


def board(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed("dashboard", *arguments))
    return found


def check_rules(directory: Path, inputs: dict[str, str], *arguments: str, **test: Any) -> None:
    """Evaluate the rules with promtool, over series with a value for each minute."""
    (directory / "rules.yml").write_text(printed("rules", *arguments))
    series = [{"series": name, "values": values} for name, values in inputs.items()]
    content = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "5m",
        "tests": [{"interval": "1m", "input_series": series, **test}],
    }
    (directory / "tests.yml").write_text(json.dumps(content))
    command = [program("promtool"), "test", "rules", str(directory / "tests.yml")]
    running.run(command, check=True)


# MetricsAbsent is about each job.

INFO = 'flask_exporter_info{job="%s",instance="a",version="1"}'


@pytest.mark.parametrize(
    ("inputs", "when", "jobs"),
    [
        ({INFO % "shop": "1x600", INFO % "blog": "1x600"}, "1h", []),
        ({INFO % "shop": "1x600", INFO % "blog": "1x10 stale"}, "1h", ["blog"]),
        ({INFO % "shop": "1x10 stale", INFO % "blog": "1x10 stale"}, "1h", ["blog", "shop"]),
        ({'up{job="shop"}': "1x600"}, "1h", [None]),  # there never were any
        ({INFO % "shop": "1x10 stale"}, "15m", []),
        ({INFO % "shop": "1x10 stale"}, "26h", [None]),
        ({INFO % "shop": "1x1600", INFO % "blog": "1x10 stale"}, "26h", []),  # it is gone for good
    ],
    ids=["all there", "one job", "both", "never any", "just now", "long ago", "one long ago"],
)
def test_a_job_that_vanishes_is_noticed(
    inputs: dict[str, str], when: str, jobs: list[str | None], tmp_path: Path
) -> None:
    alerts = [
        {
            "exp_labels": {"severity": "page", **({"job": job} if job else {})},
            "exp_annotations": {
                "summary": f"Prometheus finds no metrics of {job or 'flask'}",
                "description": "There is no series flask_exporter_info of this job; every "
                "instance has one from its start. The other alerts cannot fire for it.",
                "runbook": "Check whether the service runs, and whether Prometheus discovers it.",
            },
        }
        for job in jobs
    ]
    check_rules(
        tmp_path,
        inputs,
        alert_rule_test=[
            {"eval_time": when, "alertname": "FlaskMetricsAbsent", "exp_alerts": alerts}
        ],
    )


# A floor of traffic for alerts on objectives.

FEW = {
    'flask_http_request_total{job="shop",instance="a",method="GET",status="200"}': "0+1x60",
    'flask_http_request_total{job="shop",instance="a",method="GET",status="500"}': "0+1x60",
    'flask_http_request_duration_seconds_count{job="shop",path="/",status="200"}': "0+1x60",
    'flask_http_request_duration_seconds_bucket{job="shop",path="/",status="200",le="0.5"}': (
        "0x60"
    ),
    INFO % "shop": "1x60",
}


@pytest.mark.parametrize(
    ("arguments", "fires"),
    [((), 4), (("--minimum-rate", "0.03"), 1), (("--minimum-rate", "0.05"), 0)],
)
def test_few_requests_do_not_alert_below_the_minimum(
    arguments: tuple[str, ...], fires: int, tmp_path: Path
) -> None:
    """There are two requests a minute since an hour: 0.033 per second of it, less of a day."""
    names = ["FlaskErrorBudgetBurn", "FlaskLatencyBudgetBurn"] if fires else []
    query = 'count by (alertname) (ALERTS{alertstate="firing"})'
    samples = [{"labels": f'{{alertname="{name}"}}', "value": fires} for name in names]
    check_rules(
        tmp_path,
        FEW,
        *arguments,
        promql_expr_test=[{"expr": query, "eval_time": "1h", "exp_samples": samples}],
    )


def test_the_minimum_is_a_number_above_zero() -> None:
    assert run("rules", "--minimum-rate", "0").exit_code == 2


# Windows.


@pytest.mark.parametrize(
    ("arguments", "hint", "remedy"),
    [
        (["--window", "7d"], "--window", "--scrape-interval 17s"),
        (["--scrape-interval", "2m"], "--scrape-interval", "longer --window than 30d"),
        (
            ["--window", "7d", "--scrape-interval", "30s"],
            "--window and --scrape-interval",
            "longer --window than 7d",
        ),
    ],
)
def test_the_option_that_was_given_is_blamed(arguments: list[str], hint: str, remedy: str) -> None:
    done = run("rules", *arguments)
    assert done.exit_code == 2
    assert f"Invalid value for {hint}: the shortest window of an objective over" in done.stderr
    assert remedy in done.stderr


def test_what_is_advised_works() -> None:
    printed("rules", "--window", "7d", "--scrape-interval", "17s")


COMMAND = re.compile(r"^(?:\$ )?(promweb (?:dashboard|rules) [^|>#\n]*)", re.MULTILINE)
INLINE = re.compile(r"`(promweb (?:dashboard|rules) [^`]*--[^`]*)`")


def test_examples_of_the_documents_run_as_printed(tmp_path: Path) -> None:
    found = []
    for path in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        text = path.read_text()
        found += [*COMMAND.findall(text), *INLINE.findall(text)]
    commands = {" ".join(one.split()) for one in found if "--app" not in one}
    assert len(commands) >= 6
    for command in commands:
        done = run(*shlex.split(command)[1:])
        assert done.exit_code == 0, (command, done.output)


# Prefixes.


@pytest.mark.parametrize("command", ["dashboard", "rules"])
def test_a_prefix_with_and_without_its_underscore(command: str) -> None:
    assert printed(command, "--prefix", "photos") == printed(command, "--prefix", "photos_")
    assert "photos__http_request_duration_seconds_count" in printed(command, "--prefix", "photos__")


@pytest.mark.parametrize("prefix", ["a:b", "A1", "_x", "__", "photos__", "x" * 60, "http"])
def test_odd_prefixes(prefix: str, tmp_path: Path) -> None:
    start = prefix if prefix.endswith("_") else f"{prefix}_"
    (tmp_path / "rules.yml").write_text(printed("rules", "--prefix", prefix))
    command = [program("promtool"), "check", "rules", str(tmp_path / "rules.yml")]
    running.run(command, check=True)
    assert f"{start}http_request_total" in (tmp_path / "rules.yml").read_text()
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", board("--prefix", prefix)["uid"])


def exposition(start: str) -> str:
    name = f"{start}http_request_duration_seconds"
    return f'# TYPE {name} summary\n{name}_count{{method="GET",path="/",status="200"}} 2\n'


@pytest.mark.parametrize(
    ("starts", "prefix", "found"),
    [
        (["photos_"], "photos", "photos_"),
        (["photos_"], "photos_", "photos_"),
        (["photos_", "other_"], "photos", "photos_"),
        (["photos__"], "photos_", "photos__"),
        (["photos__"], "photos__", "photos__"),
        (["photos__", "photos_"], "photos_", "photos_"),
        (["photos__", "photos_"], "photos", "photos_"),
        (["photos"], "photos", "photos"),
        (["photos"], "photos_", "photos"),
        (["", "other_"], "", ""),
        (["photos_"], "fotos", None),
    ],
)
def test_top_takes_a_prefix_as_the_others_do(
    starts: list[str], prefix: str, found: str | None
) -> None:
    exposed = parse("".join(map(exposition, starts)))
    if found is None:
        with pytest.raises(ScrapeError, match="it has no family fotos"):
            Snapshot.of(exposed, prefix)
    else:
        assert Snapshot.of(exposed, prefix).prefix == found


# Dashboards beside each other.


def test_each_service_and_selector_has_a_uid() -> None:
    options: list[list[str]] = [
        [],
        ["--no-prefix"],
        ["--naming", "otel"],
        ["--prefix", "http"],
        ["--prefix", "http_server"],
        ["--prefix", "photos"],
        ["--prefix", "photos__"],
        ["--prefix", "a:b"],
        ["--prefix", "a-b".replace("-", "_")],
        ["--prefix", "x" * 50],
        ["--prefix", "x" * 51],
        ["--selector", 'job="shop"'],
        ["--selector", 'job="blog"'],
        ["--prefix", "photos", "--selector", 'job="shop"'],
    ]
    uids = [board(*one)["uid"] for one in options]
    # The conventions' names begin with http_server.
    assert len(set(uids)) == len(uids) - 1
    assert uids[2] == uids[4]
    assert uids == [board(*one)["uid"] for one in options]
    assert uids[0] == "promweb-flask"
    titles = [board(*one)["title"] for one in options[-3:]]
    assert titles == [
        'flask: requests (job="shop")',
        'flask: requests (job="blog")',
        'photos: requests (job="shop")',
    ]


def test_title_and_uid_may_be_given() -> None:
    made = board("--title", "The shop", "--uid", "shop-1", "--selector", 'job="shop"')
    assert (made["title"], made["uid"]) == ("The shop", "shop-1")
    for uid in ("a b", "x" * 41, ""):
        done = run("dashboard", "--uid", uid)
        assert (done.exit_code, "up to 40 letters" in done.stderr) == (2, True)


# Selectors.


@pytest.mark.parametrize(
    "selector",
    [
        'job="shop"',
        "job='shop'",
        "job=`shop`",
        '{job="shop", env=~"prod|test",}',
        'env!~"",zone!="x"',
        'job="a\\"b"',
        'env="$env"',
    ],
)
@pytest.mark.parametrize("command", ["dashboard", "rules"])
def test_selectors_of_promql(command: str, selector: str, tmp_path: Path) -> None:
    text = printed(command, "--selector", selector)
    if command == "rules":
        (tmp_path / "rules.yml").write_text(text)
        check = [program("promtool"), "check", "rules", str(tmp_path / "rules.yml")]
        running.run(check, check=True)


@pytest.mark.parametrize(
    "selector",
    [
        "job",
        "job=shop",
        'job=~"(["',
        'job="a" or job="b"',
        'job="a"} or up{job="b"',
        'job="a"}[5m] + x{job="b"',
        'job="a"} offset 5m or x{a="b"',
        'job=="a"',
        'job="a" env="b"',
        '__name__="up"',
        '1a="b"',
        'job="a',
    ],
)
@pytest.mark.parametrize("command", ["dashboard", "rules"])
def test_what_is_no_selector(command: str, selector: str) -> None:
    done = run(command, "--selector", selector)
    assert done.exit_code == 2
    assert "is not a list of label matchers" in done.stderr


# Reports without some numbers.


def test_nothing_is_known_of_a_service_that_is_down() -> None:
    found = report({"x": "refused"})
    unknown = dict.fromkeys(("count", "errors", "seconds", "p50", "p95", "p99"))
    assert found["requests"] == unknown
    assert found["exceptions"] is None
    assert found["in_progress"] is None


@pytest.mark.parametrize(
    ("exposed", "exceptions"),
    [
        ("", None),
        ("# TYPE flask_http_request_exceptions_total counter\n", 0),
        ("# TYPE flask_exporter_info gauge\nflask_exporter_info 1\n", 0),
        (
            "# TYPE flask_http_request_exceptions_total counter\n"
            'flask_http_request_exceptions_total{method="GET"} 3\n',
            3,
        ),
    ],
    ids=["not counted", "none yet", "none yet, of several workers", "some"],
)
def test_exceptions_are_unknown_where_nobody_counts_them(
    exposed: str, exceptions: int | None
) -> None:
    one = Snapshot.of(parse(exposition("flask_") + exposed))
    assert report({"x": one})["exceptions"] == exceptions
    assert one.since(one).exceptions == (None if exceptions is None else 0)


def test_errors_are_unknown_without_a_status_and_seconds_without_a_sum() -> None:
    text = exposition("flask_").replace(',status="200"', "")
    found = report({"x": Snapshot.of(parse(text), group="path")})
    assert (found["requests"]["count"], found["requests"]["errors"]) == (2, None)
    assert found["requests"]["seconds"] is None
    assert [(one["count"], one["errors"]) for one in found["routes"]] == [(2, None)]


def test_a_report_shows_a_dash_for_what_is_unknown(tmp_path: Path) -> None:
    from .diffing import Exposing

    with Exposing(exposition("flask_").replace(',status="200"', "")) as service:
        done = run("top", "--once", service.url, "--group", "path")
    assert done.exit_code == 0
    assert re.search(r"^all +2 +- +- +- +- +-$", done.stdout, re.MULTILINE), done.stdout


# TLS where there is none.


def test_https_at_a_port_without_it_says_so() -> None:
    from .diffing import Exposing

    with Exposing(exposition("flask_")) as service:
        done = run("top", "--once", f"https://127.0.0.1:{service.port}")
    assert done.exit_code == 1
    assert "it does not speak TLS; write http://" in done.stdout


def test_http_at_a_port_with_tls_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")  # an alert

        thread = threading.Thread(target=serve)
        thread.start()
        done = run("top", "--once", f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join(DEADLINE)
    assert done.exit_code == 1
    assert "it speaks TLS; write https://" in done.stdout
