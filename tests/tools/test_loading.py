"""`--app`: applications are found as Flask and Quart find them, and read for what is printed."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask.cli
import pytest
import quart.cli
import yaml

from promweb.tools.loading.settings import settings_of
from promweb.tools.loading.targets import LoadError, find
from tests.support import running

from .diffing import diff, printed, run

PROJECT = {
    "loaded_shop.py": """
        from {framework} import {App}, request

        app = {App}("app")
        other = {App}("other")


        def create(name="made"):
            return {App}(name)


        def strict(name):
            return {App}(name)
    """,
    "loaded_one.py": 'from {framework} import {App}, request\nthing = {App}("thing")\n',
    "loaded_two.py": 'from {framework} import {App}\na, b = {App}("a"), {App}("b")\n',
    "loaded_maker.py": """
        from {framework} import {App}


        def create_app():
            return {App}("created")
    """,
    "loaded_needy.py": """
        from {framework} import {App}


        def create_app(settings):
            return {App}("created")
    """,
    "loaded_none.py": "thing = 3\n",
    "loaded_package/__init__.py": "",
    "loaded_package/web.py": 'from {framework} import {App}\napp = {App}("web")\n',
    "loaded_application/__init__.py": """
        from {framework} import {App}

        application = {App}("packaged")
    """,
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that is the current one; modules from it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for variable in ("FLASK_APP", "QUART_APP"):
        monkeypatch.delenv(variable, raising=False)
    before = set(sys.modules)
    yield tmp_path
    forget(before)


def forget(before: set[str]) -> None:
    for name in set(sys.modules) - before:
        if name.startswith("loaded"):
            del sys.modules[name]
    importlib.invalidate_caches()


def write(project: Path, files: dict[str, str], framework: str = "flask") -> None:
    for name, source in files.items():
        path = project / name
        path.parent.mkdir(exist_ok=True)
        text = textwrap.dedent(source)
        for key, value in (("{framework}", framework), ("{App}", framework.capitalize())):
            text = text.replace(key, value)
        path.write_text(text)


TARGETS = [
    "loaded_shop",
    "loaded_shop.py",
    "./loaded_shop.py:other",
    "loaded_shop:app",
    "loaded_shop:other",
    "loaded_shop:create",
    "loaded_shop:create()",
    "loaded_shop:create('shop')",
    'loaded_shop:create(name="shop")',
    "loaded_shop:strict('shop')",
    "loaded_shop:strict",
    "loaded_shop:create(1, 2)",
    "loaded_shop:create(nothing)",
    "loaded_shop:missing",
    "loaded_shop:1 + 1",
    "loaded_one",
    "loaded_two",
    "loaded_two:b",
    "loaded_maker",
    "loaded_maker:create_app",
    "loaded_needy",
    "loaded_needy:create_app('x')",
    "loaded_none",
    "loaded_package.web",
    "loaded_package/web.py",
    "loaded_package.web:app",
    "loaded_package",
    "loaded_application",
    "loaded_application/__init__.py",
    "loaded_nothing",
    "loaded_nothing:app",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("framework", ["flask", "quart"])
def test_a_target_means_what_it_means_to_the_framework(
    project: Path, framework: str, target: str
) -> None:
    write(project, PROJECT, framework)
    script: Any = {"flask": flask.cli, "quart": quart.cli}[framework]
    before = set(sys.modules)
    try:
        theirs = script.ScriptInfo(app_import_path=target).load_app().import_name
    except script.NoAppException:
        theirs = None
    forget(before)
    try:
        ours = find(target).import_name
    except LoadError:
        ours = None
    assert ours == theirs


def test_targets_are_of_both_kinds(project: Path) -> None:
    write(project, PROJECT)
    found = []
    for target in TARGETS:
        try:
            found.append(find(target) is not None)
        except LoadError:
            found.append(False)
    assert found.count(True) > 15
    assert found.count(False) > 8


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("loaded_shp", "No module named 'loaded_shp' in {here}. There is loaded_shop, "),
        ("loaded_shop:ap", "loaded_shop ({here}/loaded_shop.py) has no 'ap'. It has app, create"),
        ("loaded_two", "loaded_two has several applications: a, b. Write which, as in loaded_two:"),
        ("loaded_none", "loaded_none ({here}/loaded_none.py) has no application."),
        (
            "loaded_needy",
            "create_app(settings) in {here}/loaded_needy.py, line 5, cannot be called as "
            "create_app: missing a required argument: 'settings'. Write its arguments",
        ),
        ("loaded_shop:create(x)", "'create(x)' is neither a name nor a call with literal"),
    ],
)
def test_what_there_is_is_said(project: Path, target: str, says: str) -> None:
    write(project, PROJECT)
    done = run("dashboard", "--app", target)
    assert done.exit_code == 2
    assert says.format(here=os.path.realpath(project)) in done.stderr


@pytest.mark.parametrize(
    ("source", "says", "line"),
    [
        ("import os\nx = (3\n", "SyntaxError: '(' was never closed", "line 2\n    x = (3"),
        (
            "import os\n\nimport loaded_missing\n",
            "ModuleNotFoundError: No module named 'loaded_missing'",
            "line 3\n    import loaded_missing",
        ),
        (
            "import json\njson.loads('')\n",
            "JSONDecodeError: Expecting value",
            "line 2\n    json.loads('')",
        ),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3", "line 2\n    sys.exit(3)"),
        (
            "from flask import Flask\nfrom promweb import PrometheusMetrics\n"
            "PrometheusMetrics(Flask('x'), max_series=0)\n",
            "ValueError: max_series=0: must be",
            "line 3\n    PrometheusMetrics(",
        ),
    ],
    ids=["syntax", "import", "another exception", "exit", "refused"],
)
@pytest.mark.parametrize("command", ["dashboard", "rules", "diff", "doctor"])
def test_a_failing_import_is_shown_with_the_users_line(
    project: Path, command: str, source: str, says: str, line: str
) -> None:
    (project / "loaded_bad.py").write_text(source)
    (project / "old").write_text("# TYPE x gauge\nx 1\n")
    given = ["old"] if command == "diff" else []
    done = run(command, *given, "--app", "loaded_bad")
    assert done.exit_code == 2
    output = " ".join((done.stderr or done.stdout).split())
    where, _, text = line.partition("\n")
    assert says in output
    assert f"loaded_bad.py, {where}" in output
    assert command == "doctor" or text.strip() in output


# Settings.

MEASURED = """
import itertools

from flask import Flask
from prometheus_client import CollectorRegistry
from promweb import NO_PREFIX, PrometheusMetrics

print("hello")
numbers = itertools.count()


def tenant(request):
    return "x"


def make(*several, **arguments):
    app, registry = Flask(f"shop{next(numbers)}"), CollectorRegistry()
    for one in several or [arguments]:
        PrometheusMetrics(app, registry=registry, path=None, **one)
    return app


app = make()
shop = make(defaults_prefix="shop", group_by="url_rule", buckets=(0.1, 0.5, 2))
bare = make(defaults_prefix=NO_PREFIX, group_by=tenant)
odd = make(defaults_prefix="photos_")
summary = make(default_latency_as_histogram=False)
otel = make(naming="otel", buckets=(0.25, 1))
two = make(dict(group_by="url_rule"), dict(naming="otel"))
three = make(dict(defaults_prefix="a"), dict(defaults_prefix="b"), dict(naming="otel"))
off = make(export_defaults=False)
unmeasured = Flask(__name__)
def dashed():
    return make(defaults_prefix="my-shop")
"""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("app", []),
        ("shop", ["--prefix", "shop", "--group-by", "url_rule", "--buckets", "0.1,0.5,2"]),
        ("bare", ["--no-prefix", "--group-by", "tenant"]),
        ("odd", ["--prefix", "photos__"]),
        ("summary", ["--summary"]),
    ],
)
@pytest.mark.parametrize("command", ["dashboard", "rules"])
def test_an_application_says_what_options_would(
    project: Path, command: str, name: str, options: list[str]
) -> None:
    (project / "loaded_metrics.py").write_text(MEASURED)
    by_option = printed(command, "--no-websockets", *options)
    done = run(command, "--app", f"loaded_metrics:{name}")
    assert done.exit_code == 0, done.stderr
    # Without what the module prints, and what it does not measure.
    assert parts(done.stdout) == parts(by_option, *OPTIONAL_PARTS)
    # Options that agree with the application change nothing.
    assert printed(command, "--app", f"loaded_metrics:{name}", *options) == done.stdout


OPTIONAL_PARTS = (
    *("waiting", "capacity"),
    *("Sizes and time to the first byte", "Waiting and the event loop"),
    *("In progress", "Requests in progress", "Requests in progress by instance"),
)
"""Groups of rules, and rows and panels, that need an argument of the application."""


def parts(text: str, *omitted: str) -> list[Any]:
    """Return the groups of rules or the panels of a dashboard, without their places."""
    is_json = text.startswith("{")  # YAML, too, but parsing it as that takes long
    content = json.loads(text) if is_json else yaml.safe_load(text)
    groups = [
        group
        for group in content.get("groups", [])
        if not group["name"].endswith(tuple(f"-{name}" for name in omitted))
    ]
    rows = [panel for panel in content.get("panels", []) if panel["title"] not in omitted]
    for panel in [*rows, *(below for row in rows for below in row.get("panels", []))]:
        del panel["id"], panel["gridPos"]
    assert groups or rows
    return groups or rows


WAITING_ALERTS = {
    "event_loop": ["EventLoopLags", "RouteBlocks"],
    "queue_time": ["RequestsQueue"],
    "threads": ["ThreadsWait"],
    "background_tasks": ["BackgroundTasksFail"],
}
WAITING_PANELS = {
    "event_loop": [
        "Longest step by path, p99",
        "Share of the event loop by path",
        "Lag of the event loop",
    ],
    "queue_time": ["Queue time"],
    "threads": ["Wait for a thread", "Threads"],
    "background_tasks": ["Background tasks in progress", "Background tasks"],
}


@pytest.mark.parametrize(
    ("framework", "several", "measured"),
    [
        *(("Quart", [{name: True}], [name]) for name in WAITING_PANELS),
        ("Quart", [{}], []),
        ("Quart", [dict.fromkeys(WAITING_PANELS, True)], list(WAITING_PANELS)),
        ("Quart", [{"threads": True}, {"event_loop": True}], ["event_loop", "threads"]),
        ("Flask", [dict.fromkeys(WAITING_PANELS, True)], ["queue_time"]),
        ("Flask", [{}], []),
    ],
)
def test_what_an_application_does_not_measure_is_left_out(
    project: Path, framework: str, several: list[dict[str, bool]], measured: list[str]
) -> None:
    prefix = "Async" if framework == "Quart" else ""
    (project / "loaded_waiting.py").write_text(
        f"from {framework.lower()} import {framework}\n"
        "from prometheus_client import CollectorRegistry\n"
        f"from promweb import {prefix}PrometheusMetrics\n"
        "app = " + framework + "(__name__)\n"
        f"for one in {several}:\n"
        f"    {prefix}PrometheusMetrics(app, registry=CollectorRegistry(), path=None, **one)\n"
    )
    board = json.loads(printed("dashboard", "--app", "loaded_waiting"))
    rows = [row for row in board["panels"] if row["title"] == "Waiting and the event loop"]
    shown = [[panel["title"] for panel in row["panels"]] for row in rows]
    panels = [
        title for name, titles in WAITING_PANELS.items() if name in measured for title in titles
    ]
    assert shown == ([panels] if measured else [])
    groups = yaml.safe_load(printed("rules", "--app", "loaded_waiting"))["groups"]
    alerts = [f"Flask{alert}" for name in measured for alert in WAITING_ALERTS[name]]
    (found, *_) = [
        *([rule["alert"] for rule in g["rules"]] for g in groups if g["name"] == "flask-waiting"),
        [],
    ]
    assert found == alerts
    assert all(group["rules"] for group in groups)
    # Without an application nothing is known, so all of it is there.
    everything = yaml.safe_load(printed("rules"))["groups"]
    assert "flask-waiting" in [group["name"] for group in everything]


SIZES = "Sizes and time to the first byte"
SHOWN = {
    "nothing": ("", {}),
    "in_progress=True": ("In progress", {"In progress": []}),
    "in_progress='group'": ("In progress", {"In progress": []}),
    "request_size=True": ("", {"Sizes": ["Size of requests", "Traffic"]}),
    "response_size=True": ("", {"Sizes": ["Size of responses", "Traffic"]}),
    "response_start=True": (
        "",
        {"Time to the first byte": ["Times to the first byte", "Time to the first byte"]},
    ),
    "request_size=True, response_start=True": (
        "",
        {
            SIZES: [
                "Size of requests",
                "Traffic",
                "Times to the first byte",
                SIZES[10:].capitalize(),
            ]
        },
    ),
}


@pytest.mark.parametrize("arguments", SHOWN)
def test_rows_and_alerts_need_the_arguments_of_their_families(
    project: Path, arguments: str
) -> None:
    (project / "loaded_rows.py").write_text(
        "from flask import Flask\n"
        "from promweb import PrometheusMetrics\n"
        "from prometheus_client import CollectorRegistry\n"
        "app = Flask(__name__)\n"
        + f"PrometheusMetrics(app, registry=CollectorRegistry(), {arguments})".replace(
            "nothing", ""
        )
    )
    stat, rows = SHOWN[arguments]
    panels = json.loads(printed("dashboard", "--app", "loaded_rows"))["panels"]
    found = {panel["title"]: panel for panel in panels if panel["type"] == "row"}
    usual = ("Overview", "Requests", "Errors", "Duration", "Processes", "promweb and scrapes")
    assert {
        title: [below["title"] for below in row["panels"]]
        for title, row in found.items()
        if title not in usual
    } == rows
    assert [p["title"] for p in panels if p["title"] == stat and p["type"] == "stat"] == [stat][
        not stat :
    ]
    done = run("rules", "--app", "loaded_rows", "--concurrency", "8")
    assert ("Saturated" in done.stdout, "Stalled" in done.stdout) == (bool(stat), bool(stat))
    note = "--concurrency 8 omits its alert: the application does not have in_progress=True."
    assert (note in done.stderr) == (not stat)


@pytest.mark.parametrize(
    ("several", "label"),
    [
        (["True"], "method"),
        (["'group'"], "url_rule"),
        (["False", "'group'"], "url_rule"),
        (["True", "False"], "method"),
    ],
)
def test_requests_in_progress_have_the_label_that_the_application_gives(
    project: Path, several: list[str], label: str
) -> None:
    (project / "loaded_progress.py").write_text(
        "from flask import Flask\n"
        "from prometheus_client import CollectorRegistry\n"
        "from promweb import PrometheusMetrics\n"
        "app = Flask(__name__)\n"
        f"for one in [{', '.join(several)}]:\n"
        "    PrometheusMetrics(app, registry=CollectorRegistry(), path=None, "
        "group_by='url_rule', in_progress=one)\n"
    )
    panels = json.loads(printed("dashboard", "--app", "loaded_progress"))["panels"]
    (panel,) = [panel for panel in panels if panel["title"] == "Requests in progress"]
    assert f"sum by ({label})" in panel["targets"][0]["expr"]
    assert panel["description"].startswith(f"By {label}, ")


def test_process_metrics_of_an_application_show_its_workers(project: Path) -> None:
    (project / "loaded_workers.py").write_text(
        "from flask import Flask\n"
        "from prometheus_client import CollectorRegistry\n"
        "from promweb import PrometheusMetrics\n"
        "app, registry = Flask(__name__), CollectorRegistry()\n"
        "PrometheusMetrics(app, registry=registry)\n"
        "PrometheusMetrics(app, registry=registry, path=None, export_defaults=False, "
        "process_metrics=True)\n"
    )
    application = ("dashboard", "--app", "loaded_workers")
    assert printed(*application) == printed(*application, "--multiprocess")
    assert '"Memory by worker"' in printed(*application)


@pytest.mark.parametrize("command", ["dashboard", "rules"])
def test_the_help_names_what_an_application_says(command: str) -> None:
    shown = " ".join(printed(command, "--help").split()).partition("--app ")[2]
    said = shown.partition(" --naming [")[0]
    assert re.findall(r"--[\w-]+", said)[1:] == [
        *("--naming", "--prefix", "--no-prefix", "--group-by", "--summary", "--buckets"),
        *("--websockets", "--native"),
    ]
    assert "does not measure" in said


def test_the_names_of_opentelemetry_are_read(project: Path) -> None:
    (project / "loaded_metrics.py").write_text(MEASURED)
    options = ("--naming", "otel", "--buckets", "0.25,1", "--latency-threshold", "0.25")
    by_option = parts(printed("rules", "--no-websockets", *options), *OPTIONAL_PARTS)
    application = ("--app", "loaded_metrics:otel", "--latency-threshold", "0.25")
    assert parts(printed("rules", *application)) == by_option


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("shop", "--prefix", "flask"), "--prefix: the application has shop; leave the option out"),
        (("shop", "--group-by", "path"), "--group-by: the application has url_rule"),
        (("shop", "--buckets", "1,2"), "--buckets: the application has 0.1,0.5,2"),
        (("shop", "--no-prefix"), "--no-prefix: the application has shop"),
        (("shop", "--latency-threshold", "1"), "bounds are 0.1, 0.5, 2; choose one of them"),
        (("two",), "several metrics objects; choose one: --naming promweb --prefix flask; --nam"),
        (("three", "--naming", "promweb"), "choose one: --naming promweb --prefix a; --naming"),
        (("off",), "no metrics object of this application records the default metrics"),
        (("unmeasured",), "promweb does not measure this application"),
        # An older prometheus_client refuses such a name itself.
        (("dashed()",), "defaults_prefix='my-shop'"),
        (("make",), None),
        (("tenant",), "tenant(request) in"),
        (("CollectorRegistry",), "that is not a Flask or Quart application: "),
    ],
)
def test_an_application_that_does_not_fit(
    project: Path, arguments: tuple[str, ...], says: str | None
) -> None:
    (project / "loaded_metrics.py").write_text(MEASURED)
    name, *options = arguments
    done = run("rules", "--app", f"loaded_metrics:{name}", *options)
    assert done.exit_code == (2 if says else 0), done.stderr
    assert (says or "") in done.stderr


def test_options_choose_among_metrics_objects(project: Path) -> None:
    (project / "loaded_metrics.py").write_text(MEASURED)
    for name, options in (
        ("two", ("--naming", "otel")),
        ("two", ("--prefix", "flask")),
        ("three", ("--prefix", "b")),
        ("three", ("--prefix", "b_")),
    ):
        text = printed("rules", "--app", f"loaded_metrics:{name}", *options)
        group = yaml.safe_load(text)["groups"][0]["name"]
        assert group == {"otel": "http_server-requests"}.get(
            options[1], f"{options[1].rstrip('_')}-requests"
        )


def test_quart_has_websockets_if_a_route_is_one_and_they_are_on(project: Path) -> None:
    (project / "loaded_quart.py").write_text(
        "from prometheus_client import CollectorRegistry\n"
        "from promweb import AsyncPrometheusMetrics\nfrom quart import Quart\n"
        "on, off, none = Quart('on'), Quart('off'), Quart('none')\n"
        "AsyncPrometheusMetrics(on, registry=CollectorRegistry())\n"
        "AsyncPrometheusMetrics(off, registry=CollectorRegistry(), websockets=False)\n"
        "AsyncPrometheusMetrics(none, registry=CollectorRegistry())\n"
        "for app in (on, off):\n    app.add_websocket('/chat', 'chat', print)\n"
    )
    for name, expected in (("on", True), ("off", False), ("none", False)):
        [settings] = settings_of(find(f"loaded_quart:{name}"))
        assert settings.websockets is expected
        text = printed("dashboard", "--app", f"loaded_quart:{name}")
        assert ("Websockets" in text) is expected
        assert ("websocket" in printed("rules", "--app", f"loaded_quart:{name}")) is expected


@pytest.mark.parametrize("framework", ["flask", "quart"])
def test_the_application_of_the_frameworks_own_option(
    project: Path, framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `flask --app shop promweb rules` passes it on."""
    from click.testing import CliRunner

    from promweb.tools.cli.group import cli

    (project / "loaded_metrics.py").write_text(MEASURED)
    script: Any = {"flask": flask.cli, "quart": quart.cli}[framework]
    info = script.ScriptInfo(app_import_path="loaded_metrics:shop")
    done = CliRunner().invoke(cli, ["rules"], obj=info)
    assert "shop-requests" in done.output
    done = CliRunner().invoke(cli, ["rules"], obj=script.ScriptInfo())
    assert "flask-requests" in done.output  # no application is loaded that the user did not name


@pytest.mark.parametrize("command", [["rules"], ["dashboard"], ["diff", "old"]], ids=" ".join)
def test_the_directory_of_multiprocess_mode_stays_as_it_is(
    project: Path, command: list[str]
) -> None:
    shared = project / "shared"
    shared.mkdir()
    (project / "loaded_metrics.py").write_text(MEASURED)
    (project / "old").write_text("# TYPE shop_http_request_exceptions counter\n")
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(shared)}
    command = [sys.executable, "-m", "promweb", *command, "--app", "loaded_metrics:shop"]
    running.run(command, cwd=project, env=environment, check=True)
    assert list(shared.iterdir()) == []


# An application as NEW.

EXPOSED = """# TYPE shop_http_request_duration_seconds histogram
shop_http_request_duration_seconds_bucket{method="GET",status="200",url_rule="/",le="0.5"} 1
shop_http_request_duration_seconds_bucket{method="GET",status="200",url_rule="/",le="2.0"} 1
shop_http_request_duration_seconds_bucket{method="GET",status="200",url_rule="/",le="+Inf"} 1
shop_http_request_duration_seconds_count{method="GET",status="200",url_rule="/"} 1
shop_http_request_duration_seconds_sum{method="GET",status="200",url_rule="/"} 1
"""


@pytest.mark.parametrize(
    ("change", "checks"),
    [
        (("", ""), set()),
        (("url_rule=", "path="), {("breaks", "label-gone"), ("breaks", "selector")}),
        (('le="2.0"', 'le="3.0"'), {("breaks", "bucket-gone")}),
        (('le="0.5"', 'le="0.75"'), {("breaks", "bucket-gone"), ("breaks", "selector")}),
        (("shop_http_request_duration", "shop_duration"), {("breaks", "family-gone")}),
    ],
    ids=["nothing", "label", "bucket", "bucket that is used", "family"],
)
def test_an_application_is_compared_without_requests(
    project: Path, change: tuple[str, str], checks: set[tuple[str, str]]
) -> None:
    pytest.importorskip("promql_parser")
    (project / "loaded_metrics.py").write_text(MEASURED)
    old = EXPOSED.replace(*change)
    (project / "old").write_text(old)
    duration = "shop_http_request_duration_seconds"
    expressions = [
        f'{duration}_bucket{{le="0.75"}}',
        f"sum by (path) ({duration}_count)",
        f'{duration}_count{{status="200"}}',
    ]
    rules = [{"record": "r", "expr": expression} for expression in expressions]
    (project / "rules.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    arguments = ("old", "--app", "loaded_metrics:shop", "--used", "rules.yml")
    code, found = diff(*arguments)
    serious = {
        (one["level"], one["check"])
        for one in found
        if one["level"] not in ("adds", "note", "unchecked")
    }
    assert serious == checks
    assert code == bool(checks)
    assert all(one["check"] != "unseen" for one in found)


def test_an_application_gets_no_requests(project: Path) -> None:
    (project / "old").write_text(EXPOSED)
    for more in (["--values"], ["--new", "old"], ["old"]):
        done = run("diff", "old", "--app", "loaded_metrics:shop", *more)
        assert (done.exit_code, "--app is NEW" in done.stderr) == (2, True)
