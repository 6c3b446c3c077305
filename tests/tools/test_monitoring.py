"""`promweb dashboard` and `promweb rules`: valid files, and alerts that fire when they should."""

from __future__ import annotations

import itertools
import json
import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Histogram

from promweb.core.defaults.otel import DURATION_BUCKETS
from promweb.core.defaults.vocabulary import OTEL
from promweb.tools.monitoring.prometheus_rules import windows
from promweb.tools.monitoring.service import duration_text, read_duration
from tests.support import running
from tests.support.monitoring import dashboard, panels, printed, rules, run
from tests.support.needs import program

pytest.importorskip("promql_parser")

VARIANTS = {
    "defaults": (),
    "no prefix": ("--no-prefix", "--group-by", "endpoint"),
    "otel": ("--naming", "otel"),
    "summary": ("--summary", "--no-websockets"),
    "native": ("--native", "--latency-threshold", "0.3"),
    "otel, native": ("--naming", "otel", "--native"),
    "everything": (
        *("--prefix", "shop", "--group-by", "url_rule", "--selector", 'job="shop",env=~"a|b"'),
        *("--slo", "99.95", "--buckets", "0.1,1,2500000", "--latency-threshold", "1"),
    ),
}


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return VARIANTS[request.param]


# The dashboard.


@pytest.mark.parametrize("multiprocess", [(), ("--multiprocess",)])
def test_ids_are_unique_and_panels_do_not_overlap(
    variant: tuple[str, ...], multiprocess: tuple[str, ...]
) -> None:
    found = list(panels(dashboard(*variant, *multiprocess)))
    ids = [panel["id"] for panel in found]
    assert ids == list(range(1, len(found) + 1))
    cells: set[tuple[int, int]] = set()
    for panel in found:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        taken = set(
            itertools.product(
                range(place["x"], place["x"] + place["w"]),
                range(place["y"], place["y"] + place["h"]),
            )
        )
        assert not cells & taken, panel["title"]
        cells |= taken


def test_every_panel_says_what_it_shows_and_in_which_unit(variant: tuple[str, ...]) -> None:
    for panel in panels(dashboard(*variant, "--multiprocess")):
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith(".")
        units = json.dumps([panel["fieldConfig"], panel["options"].get("yAxis")])
        assert '"unit"' in units, panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert references == list("ABCDEFG"[: len(references)])


def test_every_data_source_is_the_one_that_was_chosen(variant: tuple[str, ...]) -> None:
    text = printed("dashboard", *variant)
    sources = re.findall(r'"datasource": \{\s*"type": "prometheus",\s*"uid": "([^"]*)"', text)
    assert set(sources) == {"${datasource}"}
    assert text.count('"datasource": {') == len(sources)


def test_grafana_knows_every_field(variant: tuple[str, ...]) -> None:
    """Grafana's own types lose unknown fields when they read a dashboard and write it again."""
    pytest.importorskip("grafana_foundation_sdk", reason="it needs Python 3.11")
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    ours = dashboard(*variant, "--multiprocess")
    theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
    assert not list(lost(ours, theirs, ""))


def lost(ours: Any, theirs: Any, where: str) -> Any:
    """Yield where something of ours is missing or different in theirs, which may have more."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if value is not None or key in theirs:
                yield from lost(value, theirs.get(key), f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(one, other, f"{where}[{index}]")
    elif ours != theirs:
        yield where, ours, theirs


def test_shares_that_are_zero_have_an_axis_of_percents(variant: tuple[str, ...]) -> None:
    """Grafana shows nothing but zeros from 0 to 100, which is 10000 % for a share."""
    shares = 0
    for panel in panels(dashboard(*variant)):
        defaults = panel.get("fieldConfig", {}).get("defaults", {})
        if panel["type"] == "timeseries" and defaults["unit"] == "percentunit":
            assert defaults["custom"]["axisSoftMax"] == 0.01
            shares += 1
    assert shares > 0


def test_the_options_choose_names_labels_and_rows() -> None:
    board = dashboard("--prefix", "shop", "--group-by", "url_rule", "--selector", 'env="a"')
    text = str([panel.get("targets") for panel in panels(board)])
    assert "flask_" not in text
    count = "shop_http_request_duration_seconds_count"
    where = 'env="a",job=~"$job",instance=~"$instance",url_rule=~"$group"'
    assert f"sum(rate({count}{{{where}}}[$__rate_interval]))" in text
    assert "sum by (url_rule)" in text
    assert dashboard("--prefix", "shop")["uid"] == "promweb-shop" != board["uid"]

    def titles(*arguments: str) -> list[str]:
        return [p["title"] for p in panels(dashboard(*arguments)) if p["type"] == "row"]

    assert titles() == [
        *("Overview", "Requests", "Errors", "Duration", "In progress"),
        *("Sizes and time to the first byte", "Waiting and the event loop"),
        *("Websockets", "Processes", "promweb and scrapes"),
    ]
    otel = "--naming", "otel"
    assert titles(*otel)[5] == "Sizes"
    # These options change nothing, because they are always so.
    assert dashboard(*otel, "--no-prefix", "--group-by", "url_rule") == dashboard(*otel)
    assert dashboard(*otel)["uid"] == "promweb-http_server"
    assert "Websockets" not in titles("--no-websockets")
    assert "Workers" in titles("--multiprocess")
    for panel in panels(dashboard("--summary")):
        for target in panel.get("targets", []):
            assert "http_request_duration_seconds_bucket" not in target["expr"]


# The rules.


def test_promtool_finds_nothing(variant: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(printed("rules", *variant, "--concurrency", "8"))
    command = [program("promtool"), "check", "rules", "--lint=all", "--lint-fatal", str(path)]
    done = running.run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules(*variant, '--concurrency', '8'))} rules found" in done.stdout


def test_names_have_level_metric_and_operations(variant: tuple[str, ...]) -> None:
    records = [rule["record"] for rule in rules(*variant) if "record" in rule]
    assert len(set(records)) == len(records)
    for record in records:
        assert re.fullmatch(r"job(_\w+)?:\w+:[a-z0-9_]+", record), record


def test_every_alert_says_what_it_means_and_what_to_do(variant: tuple[str, ...]) -> None:
    for rule in rules(*variant, "--concurrency", "8"):
        if "alert" in rule:
            assert list(rule["annotations"]) == ["summary", "description", "runbook"]
            assert rule["labels"]["severity"] in ("page", "ticket")


def test_windows_and_factors_are_the_workbooks() -> None:
    found = [
        (duration_text(pair.long), duration_text(pair.short), pair.factor, pair.severity)
        for pair in windows(read_duration("30d"))
    ]
    assert found == [
        ("1h", "5m", Decimal("14.4"), "page"),
        ("6h", "30m", 6, "page"),
        ("1d", "2h", 3, "ticket"),
        ("3d", "6h", 1, "ticket"),
    ]


def test_windows_are_in_proportion_to_the_period() -> None:
    names = {rule.get("record", "") for rule in rules("--window", "1w", "--scrape-interval", "15s")}
    assert "job:flask_http_request_errors_per_request:ratio_rate14m" in names
    assert "job:flask_http_request:rate1m10s" in names


def test_an_alert_that_cannot_fire_is_left_out_and_said() -> None:
    done = run("rules", "--slo", "90")
    pairs = [
        rule["labels"]["long_window"]
        for rule in rules("--slo", "90")
        if rule.get("alert") == "FlaskErrorBudgetBurn"
    ]
    assert pairs == ["6h", "1d", "3d"]
    assert done.stderr == (
        "Note: --slo 90 omits the alert for 1h: a share of bad requests cannot be 14.4 times 10%.\n"
    )


def test_the_names_of_alerts_begin_with_the_prefix() -> None:
    names = {rule.get("alert") for rule in rules("--prefix", "my_shop")}
    assert "MyShopErrorBudgetBurn" in names
    assert "ErrorBudgetBurn" in {rule.get("alert") for rule in rules("--no-prefix")}


INFO = 'flask_exporter_info{job="shop",instance="a",version="1"}'
UP = 'up{job="shop",instance="a"}'
ALIVE = {INFO: "1x6000", UP: "1x6000"}


def requests(status: str) -> str:
    return f'flask_http_request_total{{job="shop",instance="a",method="GET",status="{status}"}}'


def bucket(le: str) -> str:
    labels = f'job="shop",instance="a",method="GET",path="/",status="200",le="{le}"'
    return f"flask_http_request_duration_seconds_bucket{{{labels}}}"


def timed(family: str, le: str, *labels: str) -> str:
    shown = ",".join(('job="shop"', 'instance="a"', *labels, f'le="{le}"'))
    return f"flask_{family}_seconds_bucket{{{shown}}}"


COUNT = bucket("+Inf").replace("_bucket", "_count").replace(',le="+Inf"', "")
IN_PROGRESS = 'flask_http_requests_in_progress{job="shop",instance="a",method="GET"}'
FOLDED = 'promweb_series_folded_total{job="shop",instance="a",metric="orders"}'
FAILED_LABELS = 'promweb_label_errors_total{job="shop",instance="a",metric="orders",label="who"}'
TASKS = (
    'flask_background_task_duration_seconds_count{job="shop",instance="a",task="send",outcome="%s"}'
)
CLOSED = (
    'flask_websocket_connection_duration_seconds_count{job="shop",instance="a",close_code="%s"}'
)


def for_days(per_minute: int, recently: str) -> str:
    """Return three days, of which few samples are enough, and then eight hours or so."""
    return " ".join([*(f"{30 * n * per_minute} _x29" for n in range(144)), recently])


GOOD = for_days(1000, "4320000+1000x480")

# The samples of each minute, the time of the query, and the alerts that fire then. Series are in
# promtool's notation: start+step x times.
CASES: dict[str, tuple[dict[str, str], str, list[str]]] = {
    "nothing wrong": ({requests("200"): "0+1000x600"}, "10h", []),
    "fewer errors than allowed": (
        {requests("200"): "0+10000x600", requests("500"): "0+5x600"},
        "10h",
        [],
    ),
    "clients that leave are no errors": (
        {requests("200"): "0+1000x600", requests("499"): "0+900x600"},
        "10h",
        [],
    ),
    "a burst of errors": (
        # 5 % for 20 minutes: more than 14.4 times 0.1 % of an hour, not 6 times 0.1 % of 6 hours.
        {requests("200"): GOOD, requests("500"): for_days(0, "0x459 0+50x20")},
        "80h",
        ["ErrorBudgetBurn 1h"],
    ),
    "a long burst of errors": (
        {requests("200"): GOOD, requests("500"): for_days(0, "0x279 0+50x200")},
        "80h",
        [f"ErrorBudgetBurn {window}" for window in ("1h", "6h", "1d", "3d")],
    ),
    "a burst that is over": (
        {requests("200"): GOOD, requests("500"): for_days(0, "0x439 0+50x20 1000x20")},
        "80h",
        [],
    ),
    "a trickle of errors": (
        {requests("200"): GOOD, requests("500"): for_days(2, "8640+2x480")},
        "80h",
        ["ErrorBudgetBurn 3d"],
    ),
    "slow requests": (
        {COUNT: "0+100x600", bucket("0.5"): "0+100x540 54000+10x60", bucket("+Inf"): "0+100x600"},
        "10h",
        [f"LatencyBudgetBurn {window}" for window in ("1h", "6h", "1d", "3d")],
    ),
    "fast requests": ({COUNT: "0+100x600", bucket("0.5"): "0+100x600"}, "10h", []),
    "failures are not slow": (
        {
            COUNT: "0+100x600",
            bucket("0.5"): "0+100x600",
            requests("500"): "0+100x600",
            COUNT.replace("200", "500"): "0+100x600",
        },
        "10h",
        [f"ErrorBudgetBurn {window}" for window in ("1h", "6h", "1d", "3d")],
    ),
    "nobody exposes metrics": ({INFO: "1x10 stale", UP: "1x600"}, "1h", ["MetricsAbsent "]),
    "a target that answers no more": (
        {INFO: "1x10 stale", INFO.replace('"a"', '"b"'): "1x600", UP: "1x10 0x600"},
        "1h",
        ["ScrapeFails "],
    ),
    "a target that is somebody else's": ({'up{job="other",instance="c"}': "0x600"}, "1h", []),
    "full": ({IN_PROGRESS: "7x600", requests("200"): "0+60x600"}, "1h", ["Saturated "]),
    "half full": ({IN_PROGRESS: "4x600", requests("200"): "0+60x600"}, "1h", []),
    "stalled": ({IN_PROGRESS: "2x600", requests("200"): "0+60x10 600x590"}, "1h", ["Stalled "]),
    "idle": ({IN_PROGRESS: "0x600", requests("200"): "0+60x10 600x590"}, "1h", []),
    "one label error": ({FAILED_LABELS: "_x50 1x600"}, "1h", ["LabelErrors "]),
    "a label error long ago": ({FAILED_LABELS: "_x50 1x600"}, "3h", []),
    "label errors": ({FAILED_LABELS: "1+1x600"}, "5h", ["LabelErrors "]),
    "folded series": ({FOLDED: "1+1x600"}, "5h", ["SeriesFolded "]),
    "a loop that is late": (
        {
            timed("event_loop_lag", "0.25"): "0+98x600",
            timed("event_loop_lag", "0.5"): "0+100x600",
            timed("event_loop_lag", "+Inf"): "0+100x600",
        },
        "1h",
        ["EventLoopLags "],
    ),
    "a route that blocks": (
        {
            timed("http_request_loop_block", "0.1", 'path="/"'): "0+98x600",
            timed("http_request_loop_block", "0.25", 'path="/"'): "0+100x600",
            timed("http_request_loop_block", "+Inf", 'path="/"'): "0+100x600",
        },
        "1h",
        ["RouteBlocks "],
    ),
    "requests that wait": (
        {
            timed("http_request_queue", "0.25"): "0+90x600",
            timed("http_request_queue", "0.5"): "0+100x600",
            timed("http_request_queue", "+Inf"): "0+100x600",
        },
        "1h",
        ["RequestsQueue "],
    ),
    "views that wait for threads": (
        {
            timed("thread_wait", "0.1"): "0+90x600",
            timed("thread_wait", "0.25"): "0+100x600",
            timed("thread_wait", "+Inf"): "0+100x600",
        },
        "1h",
        ["ThreadsWait "],
    ),
    "tasks that fail": (
        {TASKS % "ok": "0+1x600", TASKS % "error": "0+1x600"},
        "2h",
        ["BackgroundTasksFail "],
    ),
    "a task that failed twice": (
        {TASKS % "ok": "0+1x30 30x600", TASKS % "error": "0x10 1x20 2x600"},
        "1h",
        [],
    ),
    "tasks that are cancelled": (
        {TASKS % "ok": "0+1x600", TASKS % "cancelled": "0+1x600"},
        "2h",
        [],
    ),
    "waiting that is not too long": (
        {
            timed(family, le): "0+100x600"
            for family in ("event_loop_lag", "http_request_queue", "thread_wait")
            for le in ("0.1", "0.25", "+Inf")
        },
        "1h",
        [],
    ),
    "websockets that break": (
        {CLOSED % 1000: "0+10x600", CLOSED % 1011: "0+2x600"},
        "1h",
        ["WebsocketsBreak "],
    ),
    "websockets that clients leave": (
        {CLOSED % 1000: "0+10x600", CLOSED % 1006: "0+2x600"},
        "1h",
        [],
    ),
}


OTEL_NAMES = {
    "flask_exporter_info": f"{OTEL.duration}_count",  # has each instance, like all its series
    "flask_http_request_total": f"{OTEL.duration}_count",
    "flask_http_request_duration_seconds": OTEL.duration,
    "flask_http_requests_in_progress": OTEL.in_progress,
    **{
        f"flask_{name}": name
        for name in (
            "websocket",
            "http_request_loop",
            "event_loop_lag",
            "thread_wait",
            "background_task",
        )
    },
    "flask_http_request_queue": "http_request_queue",
    "method=": f"{OTEL.method}=",
    "status=": f"{OTEL.status}=",
    "path=": f"{OTEL.group}=",
}
# One for each alert whose names depend on the naming.
OTEL_CASES = (
    "a burst of errors",
    "slow requests",
    "failures are not slow",
    "nobody exposes metrics",
    "a target that answers no more",
    "full",
    "stalled",
    "websockets that break",
    "a loop that is late",
    "a route that blocks",
    "requests that wait",
    "views that wait for threads",
    "tasks that fail",
)


def as_otel(series: str) -> str:
    """Return what a service with OpenTelemetry's names exposes in place of a series."""
    for name, other in OTEL_NAMES.items():
        series = series.replace(name, other)
    return series


@pytest.mark.parametrize(
    ("naming", "case", "native"),
    [
        *(("promweb", case, ()) for case in CASES),
        *(("otel", case, ()) for case in OTEL_CASES),
        *((naming, case, ("--native",)) for naming in ("promweb", "otel") for case in OTEL_CASES),
    ],
)
def test_alerts_fire_when_they_should_and_not_otherwise(
    naming: str, case: str, native: tuple[str, ...], tmp_path: Path
) -> None:
    """With `--native` also where no instance has native series yet."""
    series, when, expected = CASES[case]
    series, prefix = {**ALIVE, **series}, "Flask"
    if naming == "otel":
        series, prefix = {as_otel(name): values for name, values in series.items()}, "HttpServer"
    wanted = []
    for alert in expected:
        name, _, window = alert.partition(" ")
        labels = [f'alertname="{prefix}{name}"', *([f'long_window="{window}"'] if window else [])]
        wanted.append({"labels": f"{{{','.join(labels)}}}", "value": 1})
    query = 'count by (alertname, long_window) (ALERTS{alertstate="firing"})'
    check_rules(
        tmp_path,
        series,
        "--naming",
        naming,
        *native,
        # Days in small steps take promtool long, and no alert of those cases waits.
        evaluation_interval="20m" if when == "80h" else "5m",
        promql_expr_test=[{"expr": query, "eval_time": when, "exp_samples": wanted}],
    )


def test_what_opentelemetrys_names_have_only_in_labels_is_found_there(tmp_path: Path) -> None:
    def series(**labels: str) -> str:
        matchers = (f'{name}="{value}"' for name, value in {"job": "shop", **labels}.items())
        return f"{OTEL.duration}_count{{{','.join(matchers)}}}"

    records = {
        # One second has an exception of each class; a status and a full family say nothing of one.
        "job:http_server_request_exceptions:rate5m": ['{job="shop"} 2'],
        "job_http_route:http_server_request:rate5m": [
            '{job="shop",http_route="<unmatched>"} 24',
            '{job="shop",http_route="/pay"} 7',
        ],
    }
    check_rules(
        tmp_path,
        {
            series(http_route="/pay", error_type="ValueError"): "0+60x60",
            series(http_route="/pay", error_type="shop.f.<locals>.Oops"): "0+60x60",
            series(http_route="/pay", error_type="503"): "0+300x60",
            series(error_type="<overflow>"): "0+600x60",
            series(): "0+840x60",
        },
        "--naming",
        "otel",
        promql_expr_test=[
            {
                "expr": name,
                "eval_time": "1h",
                "exp_samples": [
                    {"labels": f"{name}{labels}", "value": float(value)}
                    for labels, _, value in (sample.partition(" ") for sample in samples)
                ],
            }
            for name, samples in records.items()
        ],
    )


def test_both_namings_have_the_buckets_that_the_threshold_is_checked_with() -> None:
    assert (*DURATION_BUCKETS, math.inf) == Histogram.DEFAULT_BUCKETS


def test_an_alert_reads_well(tmp_path: Path) -> None:
    look = (
        "sum by (path) (rate(flask_http_request_duration_seconds_count"
        '{job="shop",status=~"5.."}[5m]))'
    )
    alerts = [
        {
            "exp_labels": {
                "job": "shop",
                "severity": severity,
                "long_window": long,
                "short_window": short,
            },
            "exp_annotations": {
                "summary": f"shop burns its error budget more than {factor} times too fast",
                "description": f"50% of the requests of the last {long} were answered with 5xx, "
                f"and the last {short} is no better. The objective is that 99.9 % do not, over "
                f"30d. At {factor} times the pace the whole budget lasts {lasts}.",
                "runbook": f"Find the worst: topk(5, {look}). Then look at the log for their "
                "exceptions, and at recent changes.",
            },
        }
        for long, short, factor, severity, lasts in (
            ("1h", "5m", "14.4", "page", "2d2h"),
            ("6h", "30m", "6", "page", "5d"),
            ("1d", "2h", "3", "ticket", "10d"),
            ("3d", "6h", "1", "ticket", "30d"),
        )
    ]
    check_rules(
        tmp_path,
        {**ALIVE, requests("200"): "0+50x60", requests("500"): "0+50x60"},
        alert_rule_test=[
            {"eval_time": "1h", "alertname": "FlaskErrorBudgetBurn", "exp_alerts": alerts}
        ],
    )


@pytest.mark.parametrize(
    ("label", "description"),
    [
        (
            ',label="kind"',
            "Within an hour, its label kind was wrong 3 times. Either the label's callable raised, "
            "and the value was <error>; or a call of the instrument left the label out, or gave it "
            "although the metric does not have it, and recorded nothing.",
        ),
        (
            "",
            "Within an hour, 3 calls of the instrument had a wrong amount, or label values that do "
            "not fit, and recorded nothing.",
        ),
    ],
)
def test_an_alert_on_label_errors_covers_callables_and_calls(
    tmp_path: Path, label: str, description: str
) -> None:
    alert = {
        "exp_labels": {
            **{"job": "shop", "metric": "loans", "severity": "ticket"},
            **({"label": "kind"} if label else {}),
        },
        "exp_annotations": {
            "summary": "loans has wrong labels or calls",
            "description": description,
            "runbook": "Search the log of promweb for loans. It has the traceback of the first "
            "time that a callable raised, and once each line of the program with a wrong call.",
        },
    }
    wrong = f'promweb_label_errors_total{{job="shop",instance="a",metric="loans"{label}}}'
    check_rules(
        tmp_path,
        {**ALIVE, wrong: "_x30 3x60"},
        alert_rule_test=[
            {"eval_time": "1h", "alertname": "FlaskLabelErrors", "exp_alerts": [alert]}
        ],
    )


@pytest.mark.parametrize("group", ["path", "tenant", "url_rule", "endpoint"])
def test_full_metrics_are_grouped_otherwise_only_if_that_helps(group: str) -> None:
    (runbook,) = [
        rule["annotations"]["runbook"]
        for rule in rules("--group-by", group)
        if rule.get("alert") == "FlaskSeriesFolded"
    ]
    assert ("group by url_rule or endpoint" in runbook) == (group in ("path", "tenant"))


def check_rules(
    directory: Path,
    series: dict[str, str],
    *arguments: str,
    evaluation_interval: str = "5m",
    **tests: Any,
) -> None:
    """Evaluate the rules with promtool, over series with a value for each minute."""
    (directory / "rules.yml").write_text(printed("rules", *arguments, "--concurrency", "8"))
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "1m", "input_series": inputs, **tests}
    content = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": evaluation_interval,
        "tests": [test],
    }
    (directory / "tests.yml").write_text(json.dumps(content))
    command = [program("promtool"), "test", "rules", str(directory / "tests.yml")]
    done = running.run(command)
    assert done.returncode == 0, done.stdout + done.stderr


# Wrong use.

WRONG = {
    ("--slo", "100"): "100 leaves no budget",
    ("--slo", "0.999"): "0.999 is a share; give a percentage, as in 99.9",
    ("--slo", "0"): "0 is not between 0 and 100",
    ("--slo", "nan"): "nan is not between 0 and 100",
    ("--latency-slo", "many"): "'many' is not a number; write for example 99.9",
    ("--prefix", "1x"): "'1x' cannot begin the name of a metric",
    ("--prefix", "#no_prefix"): "'#no_prefix' cannot begin the name of a metric",
    ("--prefix", ""): "use --no-prefix",
    ("--prefix", "shop", "--no-prefix"): "contradicts --prefix",
    ("--group-by", "a-b"): "invalid label name 'a-b'",
    ("--group-by", "status"): "have a label 'status' already",
    ("--group-by", "job"): "write that",
    ("--selector", "job=shop"): "'job=shop' is not a list of label matchers",
    ("--latency-threshold", "0.3"): "0.3 is not a bucket's bound",
    ("--latency-threshold", "inf"): "inf is not a bucket's bound",
    ("--buckets", "0.1;0.5"): "write numbers with commas between",
    ("--buckets", "0.1,1"): "0.5 is not a bucket's bound",
    ("--summary", "--latency-slo", "99"): "a summary has no buckets",
    ("--naming", "opentelemetry"): "'opentelemetry' is not one of 'promweb', 'otel'",
    ("--naming", "otel", "--prefix", "shop"): "the names of the conventions have no prefix",
    ("--naming", "otel", "--group-by", "endpoint"): "the group is the label http_route",
    ("--naming", "otel", "--summary"): "the duration is a histogram by the conventions",
    ("--buckets", "1,0.5"): "each number must be greater than the one before",
}
WRONG_RULES = {
    ("--window", "a month"): "'a month' is not a duration",
    ("--window", "0d"): "'0d' is not a duration",
    ("--window", "7d"): "over 7d is 1m10s, which is less than 4 scrapes",
    ("--window", "1h"): "over 1h is 0s",
    ("--concurrency", "0"): "0 is not in the range x>=1",
}


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        *(("dashboard", arguments, says) for arguments, says in WRONG.items()),
        *(("rules", arguments, says) for arguments, says in (WRONG | WRONG_RULES).items()),
    ],
)
def test_wrong_use_says_what_to_write(command: str, arguments: tuple[str, ...], says: str) -> None:
    done = run(command, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.search(
        "Error: (Invalid value for|No application can have these options)", done.stderr
    )
    assert says in done.stderr.replace("\n", " ")


def test_a_selector_may_have_braces() -> None:
    with_braces, without = (
        printed("rules", "--selector", text) for text in ('{job="a,b\\"}"}', ' job="a,b\\"}" ')
    )
    assert with_braces == without
    assert 'up{job="a,b\\"}"} == 0' in str(yaml.safe_load(without)).replace("\\\\", "\\")


def test_without_pyyaml_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['yaml'] = None; from promweb.__main__ import main; "
        "sys.argv = ['promweb', 'rules']; main()"
    )
    done = running.python(program)
    assert done.returncode == 1
    assert "PyYAML. Install it with: pip install 'promweb[cli]'" in done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2592000), ("1w", 604800), ("1h30m", 5400), ("15s", 15)]
)
def test_durations_are_prometheus(text: str, seconds: int) -> None:
    assert read_duration(text) == seconds
    assert read_duration(duration_text(seconds)) == seconds
