"""`promweb top`: its report equals the scrape; in a real terminal it shows both shops."""

from __future__ import annotations

import base64
import json
import math
import re
import socket
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner, Result
from flask import Flask, request
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console, RenderableType

from examples import demo, shop_flask, shop_quart
from promweb import PrometheusMetrics
from promweb.scrapes.report import report
from promweb.scrapes.snapshot import Snapshot
from promweb.scrapes.tally import QUANTILES
from promweb.scrapes.traffic import Traffic
from promweb.tools.cli.group import cli
from promweb.tools.top.tables import SHOWN, live, once
from tests.support.paths import SCRIPTS
from tests.support.running import python, run
from tests.support.servers import werkzeug
from tests.support.terminal import terminal

from .test_top_numbers import EMPTY, histogram, one_route, snapshot

trustme = pytest.importorskip("trustme")  # has no wheel without the GIL

DURATION = "shop_http_request_duration_seconds"


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Serve the shop on Flask and on Quart."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(demo.serve_flask(shop_flask.create_app(CollectorRegistry()))),
            stack.enter_context(demo.serve_quart(shop_quart.create_app(CollectorRegistry()))),
        ]


def visit(ports: Sequence[int], times: int = 1) -> list[str]:
    """Send the demo's requests to each; return the expositions that have them."""
    for port in ports:
        for _ in range(times):
            for one in demo.REQUESTS:
                demo.ask(port, one)
    return [demo.scrape(port, times * demo.TRACKED) for port in ports]


def top(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(cli, ["top", *arguments], **options)


# --once


class Expected:
    """Requests as a scrape tells them, read by prometheus_client, added up here."""

    def __init__(self, status: str = "status") -> None:
        self._status = status
        self.count = self.errors = 0.0
        self.seconds: list[float] = []
        self.within: dict[float, float] = defaultdict(float)

    def add(self, sample: Any) -> None:
        if sample.name.endswith("_count"):
            self.count += sample.value
            self.errors += sample.value * (sample.labels[self._status][0] == "5")
        elif sample.name.endswith("_sum"):
            self.seconds.append(sample.value)
        else:
            self.within[float(sample.labels["le"])] += sample.value

    def quantile(self, q: float) -> float:
        """Walk through the bucket that has the quantile; no finite bound is exceeded here."""
        bounds = sorted(self.within)
        bound = next(bound for bound in bounds if self.within[bound] >= q * self.count)
        before = [0.0, *bounds][bounds.index(bound)]
        fewer = self.within[before] if before else 0.0
        return before + (bound - before) * (q * self.count - fewer) / (self.within[bound] - fewer)

    def report(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "errors": self.errors,
            "seconds": pytest.approx(math.fsum(self.seconds), rel=1e-12),
            "p50": pytest.approx(self.quantile(0.5), rel=1e-12),
            "p95": pytest.approx(self.quantile(0.95), rel=1e-12),
            "p99": pytest.approx(self.quantile(0.99), rel=1e-12),
        }


def test_the_report_equals_the_scrapes(ports: list[int]) -> None:
    expositions = visit(ports, times=3)
    routes: dict[str, Expected] = defaultdict(Expected)
    urls = [Expected() for _ in ports]
    everything = Expected()
    others: dict[str, float] = defaultdict(float)
    for text, url in zip(expositions, urls, strict=True):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if family.name == DURATION:
                    for expected in (routes[sample.labels["url_rule"]], url, everything):
                        expected.add(sample)
                else:
                    others[sample.name] += sample.value

    names = [f"http://127.0.0.1:{port}/metrics" for port in ports]
    command = [SCRIPTS / "promweb", "top", "--once", "--format", "json", *names]
    done = run(command, check=True)
    assert json.loads(done.stdout) == {
        "version": 1,
        "requests": everything.report(),
        "exceptions": others["shop_http_request_exceptions_total"],
        "in_progress": others["shop_http_requests_in_progress"],
        "routes": [{"route": name, **routes[name].report()} for name in sorted(routes)],
        "websockets": [],
        "event_loop": [],
        "waits": [],
        "workers": [],
        "urls": [
            {
                "url": name,
                "up": True,
                "error": None,
                "prefix": "shop_",
                "group": "url_rule",
                "requests": url.report(),
            }
            for name, url in zip(names, urls, strict=True)
        ],
    }
    assert everything.count == 6 * demo.TRACKED
    assert everything.errors == others["shop_http_request_exceptions_total"] == 6


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "promweb"],
        [str(SCRIPTS / "flask"), "promweb"],
        [str(SCRIPTS / "quart"), "promweb"],
    ],
    ids=["python -m promweb", "flask", "quart"],
)
def test_the_frameworks_have_the_command(ports: list[int], command: list[str]) -> None:
    visit(ports[:1])
    done = run([*command, "top", "--once", "--timeout", "30", f"127.0.0.1:{ports[0]}"])
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.search(r"^/items/<item> +3 +0 +0% .* ms$", done.stdout, re.MULTILINE)
    assert re.search(r"^/orders/<int:number>/invoice +1 +1 +100% ", done.stdout, re.MULTILINE)
    assert re.search(rf"^all +{demo.TRACKED} +1 +7.7% ", done.stdout, re.MULTILINE)
    assert re.search(rf"^http://127.0.0.1:{ports[0]}/metrics +{demo.TRACKED} ", done.stdout, re.M)
    assert done.stdout.endswith("in progress: 0, exceptions: 1\n")


def test_a_url_that_cannot_be_read_is_shown_beside_the_others(ports: list[int]) -> None:
    visit(ports[:1])
    missing = f"http://127.0.0.1:{ports[1]}/nowhere"
    done = top("--once", "--format=json", missing, f"127.0.0.1:{ports[0]}")
    assert done.exit_code == 0
    found = json.loads(done.output)
    assert [(url["up"], url["error"]) for url in found["urls"]] == [
        (False, "answered 404"),
        (True, None),
    ]
    assert found["requests"]["count"] == demo.TRACKED

    done = top("--once", missing)
    assert done.exit_code == 1
    assert re.search(r"^http://127.0.0.1:\d+/nowhere: answered 404 *$", done.output, re.M)
    assert not re.search(r"^route", done.output, re.MULTILINE)


# A path that a stranger may request, if the group is the path.
HOSTILE = "/\x9b31m\x1b]0;x\x07\n[bold red]x[\\ \u202e é"
ESCAPED = r"/\x9b31m\x1b]0;x\x07\n[bold red]x[\ \u202e é"


def make_hostile_app() -> Flask:
    """Make an application with a route whose name is not harmless in a terminal."""
    app = Flask(__name__)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PrometheusMetrics(app, registry=registry)
    app.add_url_rule("/<name>", view_func=lambda name: "fine")
    assert app.test_client().get(quote(HOSTILE)).status_code == 200
    return app


def test_names_are_escaped_in_text_and_exact_in_json() -> None:
    app = make_hostile_app()
    with werkzeug(app) as server:
        text = top("--once", server.url)
        found = json.loads(top("--once", "--format", "json", server.url).output)
    assert re.search(rf"^{re.escape(ESCAPED)} +1 +0 ", text.output, re.MULTILINE)
    assert set(text.output) & set("\x9b\x1b\x07\u202e") == set()
    assert [route["route"] for route in found["routes"]] == [HOSTILE]
    worker = found["workers"][0]
    assert worker["labels"] == {}
    assert worker["resident_memory_bytes"] > 2**20
    assert re.search(rf"^127.0.0.1:{server.port} +\S+ m?s +\d+ MiB +\d+$", text.output, re.M)


def test_a_token_and_a_password_are_sent() -> None:
    app = Flask(__name__)
    seen: list[tuple[str | None, str | None]] = []

    @app.route("/metrics")
    def metrics() -> str:
        seen.append((request.headers.get("Authorization"), request.headers.get("X-Tenant")))
        return EMPTY

    basic = f"Basic {base64.b64encode('me:sécret'.encode()).decode()}"
    with werkzeug(app) as server:
        done = top(
            "--once", "--header", "Authorization: Bearer t0ken", "--header=X-Tenant:a", server.url
        )
        assert done.exit_code == 0, done.output
        assert top("--once", "--user", "me:sécret", server.url).exit_code == 0
        asked = top("--once", "--user", "me", server.url, input="sécret\n")
        assert asked.exit_code == 0
        assert "Password of me" in asked.output
        assert "sécret" not in asked.output
    assert seen == [("Bearer t0ken", "a"), (basic, None), (basic, None)]


def test_prefix_and_group_are_chosen() -> None:
    app = Flask(__name__)
    lines = [
        f'{prefix}_http_request_duration_seconds_count{{area="a",method="GET",tier="t"}} 3\n'
        for prefix in ("api", "shop")
    ]
    app.add_url_rule("/metrics", view_func=lambda: "".join(lines))
    with werkzeug(app) as server:
        assert "choose one with --prefix: 'api_', 'shop_'" in top("--once", server.url).output
        asked = top("--once", "--prefix", "api_", server.url)
        assert (asked.exit_code, "use --group: area, tier" in asked.output) == (1, True)
        told = top("--once", "--prefix", "api_", "--group", "tier", server.url)
        assert (told.exit_code, bool(re.search(r"^t +3 ", told.output, re.M))) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "Missing argument 'URL...'"),
        (["ftp://shop"], "'ftp://shop': the scheme is 'ftp'; it must be http or https"),
        (["shop", "http://shop/metrics"], "the same URL twice would count twice"),
        (["--header", "Bearer", "shop"], "'Bearer' is not of the form 'Name: value'"),
        (["--header", "A: secret\nB: c", "shop"], "'A' is not of the form 'Name: value'"),
        (["--cacert", __file__, "shop"], "contains no certificates in PEM form"),
        (["--interval", "0", "shop"], "0.0 is not in the range x>=0.1"),
        (["--format", "json", "shop"], "--format is the format of --once"),
        (["shop"], "standard output is not a terminal; print once with --once"),
    ],
)
def test_wrong_usage(arguments: list[str], error: str) -> None:
    done = top(*arguments)
    assert done.exit_code == 2
    assert error in " ".join(done.output.replace("\n", " ").split())
    assert "secret" not in done.output


def test_a_certificate_authority_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    done = top("--once", "--timeout", "0.1", "--cacert", str(path), "https://127.0.0.1:1")
    assert done.exit_code == 1
    assert "Connection refused" in done.output


WITHOUT = """
import sys
sys.modules["{package}"] = None
sys.stdin.isatty = sys.stdout.isatty = lambda: True
from promweb.__main__ import main
sys.argv = ["promweb", "top", "127.0.0.1:1", *{arguments}]
main()
"""


@pytest.mark.parametrize(("package", "arguments"), [("rich", ["--once"]), ("textual", [])])
def test_without_what_draws_it_says_what_to_install(package: str, arguments: list[str]) -> None:
    program = WITHOUT.format(package=package, arguments=arguments)
    done = python(program)
    assert done.returncode == 1
    assert f"this needs {package}. Install it with: pip install 'promweb[cli]'" in done.stderr


def test_a_broken_installation_is_not_called_missing() -> None:
    program = WITHOUT.format(package="promweb.tools.top.tables", arguments=["--once"])
    done = python(program)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
    assert "pip install" not in done.stderr


def test_json_needs_neither() -> None:
    program = WITHOUT.format(package="rich", arguments=["--once", "--format=json"])
    done = python(program)
    assert json.loads(done.stdout)["urls"][0]["error"] == "Connection refused"


# Tables.


def drawn(what: RenderableType, width: int) -> list[str]:
    console = Console(width=width, file=StringIO(), color_system=None)
    console.print(what)
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_websockets_and_workers_have_tables_where_there_are_any() -> None:
    def at(messages: int) -> Snapshot:
        return snapshot(
            EMPTY,
            'shop_websocket_connections_in_progress{path="/chat"} 3',
            f'shop_websocket_messages_total{{path="/chat",direction="sent"}} {messages}',
            f'process_cpu_seconds_total{{pid="7"}} {messages / 100}',
            'process_resident_memory_bytes{pid="7"} 52428800',
        )

    traffic = Traffic(["http://shop/metrics", "https://api/m"], window=10)
    traffic.add("http://shop/metrics", 0, at(100))
    traffic.add("http://shop/metrics", 2, at(150))
    assert drawn(live(traffic, "rate"), 70) == [
        "url                     rate/s  errors     p50     p95     p99   total",
        "up    shop                   0       -       -       -       -       0",
        "wait  https://api/m",
        "",
        "websocket                                 open  recv/s  sent/s ended/s",
        "/chat                                        3       0      25       0",
        "",
        "worker                                             cpu  memory   files",
        "shop pid=7                                       25.0%  50 MiB       -",
        "",
    ]
    assert drawn(once(report({"http://shop/metrics": at(150)})), 80) == [
        "url                 requests  errors   share     p50     p95     p99",
        "http://shop/metrics        0       0       -       -       -       -",
        "",
        "websocket    open received    sent  closed",
        "/chat           3        0     150       0",
        "",
        "worker         cpu  memory   files",
        "shop pid=7  1.50 s  50 MiB       -",
        "",
        "",
    ]


def test_who_holds_the_event_loop_and_who_waits() -> None:
    def at(requests: int) -> Snapshot:
        route, busy = 'path="/tea"', "shop_http_request_loop"
        return snapshot(
            *histogram(0, 0, 0, requests, method="GET", path="/tea", status=200),
            f'{busy}_block_seconds_bucket{{{route},le="0.5"}} {requests}',
            f'{busy}_block_seconds_bucket{{{route},le="+Inf"}} {requests}',
            f"{busy}_block_seconds_count{{{route}}} {requests}",
            f"{busy}_seconds_total{{{route}}} {requests / 4}",
            f'shop_event_loop_lag_seconds_bucket{{le="0.1"}} {requests}',
            f'shop_event_loop_lag_seconds_bucket{{le="+Inf"}} {requests}',
            f"shop_event_loop_lag_seconds_count {requests}",
            "shop_thread_wait_seconds_count 0",
        )

    traffic = Traffic(["http://shop/metrics"], window=10)
    traffic.add("http://shop/metrics", 0, at(0))
    traffic.add("http://shop/metrics", 2, at(4))
    lines = drawn(live(traffic, "rate"), 80)
    assert [line.split() for line in lines if "/tea" in line][1:] == [
        ["/tea", "50.0%", "250", "ms", "475", "ms", "495", "ms"]
    ]
    assert [line.split() for line in lines if line.startswith("event loop")] == [
        ["event", "loop", "share", *(word for q in QUANTILES for word in ("step", q))],
        ["event", "loop", "50.0", "ms", "95.0", "ms", "99.0", "ms"],
    ]
    found = report({"http://shop/metrics": at(4), "http://other/metrics": at(4)})
    assert found["event_loop"] == [
        {"route": "/tea", "seconds": 2, "p50": 0.25, "p95": 0.475, "p99": 0.495}
    ]
    assert [(one["for"], one["count"]) for one in found["waits"]] == [("event loop", 8)]
    text = "\n".join(drawn(once(found), 80))
    assert "2.00 s" in text
    assert "waiting for" in text
    assert "p50, p95 and p99 are estimated from buckets." in text


def test_a_report_begins_with_what_holds_the_event_loop_longest() -> None:
    lines = [
        line
        for path, seconds in (("/a", 1), ("/z", 30), ("/b", 2), ("/c", 2))
        for line in (
            f'shop_http_request_loop_block_seconds_count{{path="{path}"}} 1',
            f'shop_http_request_loop_seconds_total{{path="{path}"}} {seconds}',
        )
    ]
    known = histogram(0, 0, 0, 1, method="GET", path="/a", status=200)
    found = report({"shop": snapshot(*known, *lines)})
    assert [one["route"] for one in found["event_loop"]] == ["/z", "/b", "/c", "/a"]
    text = drawn(once(found), 80)
    assert [row[0] for row in after(text, "event loop")] == ["/z", "/b", "/c", "/a"]


def test_a_live_table_in_a_narrow_terminal_leaves_room_for_names() -> None:
    traffic = Traffic(["http://shop/metrics"], window=10)
    for at in (0, 2):
        traffic.add("http://shop/metrics", at, one_route(0, at, at, at, path="/items/<item>"))
    tables = live(traffic, "rate")
    assert drawn(tables, 50)[3:5] == [
        "route                       rate/s  errors     p50",
        "/items/<item>                    1      0%  1.50 s",
    ]
    assert drawn(tables, 20)[3:5] == ["route         rate/s", "/items/<ite…       1"]
    assert drawn(tables, 70)[3].split() == ["route", "rate/s", "errors", *QUANTILES, "total"]


def test_a_live_table_has_no_more_rows_than_anybody_reads() -> None:
    traffic = Traffic(["shop"], window=10)
    lines = [
        f'http_request_duration_seconds_count{{method="GET",path="/{i}",status="200"}} {i}'
        for i in range(SHOWN + 5)
    ]
    traffic.add("shop", 0, snapshot(*lines))
    shown = drawn(live(traffic, "rate"), 80)
    assert shown[4].split() == [f"/{SHOWN + 4}", "0", "-", "-", "-", "-", f"{SHOWN + 4}"]
    assert shown[-2:] == ["and 5 more", ""]
    assert len(shown) == 3 + 1 + SHOWN + 2


# In a terminal.


def after(lines: list[str], heading: str) -> list[list[str]]:
    """Return the rows below a heading, as words."""
    start = next((i for i, line in enumerate(lines) if line.startswith(heading)), len(lines))
    rows = [line.split() for line in lines[start + 1 :]]
    return rows[: rows.index([])] if [] in rows else rows


def names(lines: list[str]) -> list[str]:
    return [row[0] for row in after(lines, "route ")]


COMMAND = [
    str(SCRIPTS / "promweb"),
    "top",
    "--interval",
    "0.2",
    "--window",
    "600",
    "--timeout",
    "30",
]
BY_NAME = [
    "/",
    "/items",
    "/items.csv",
    "/items/<item>",
    "/orders",
    "/orders/<int:number>/invoice",
    "<unmatched>",
]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (160, 50)])
def test_both_shops_in_a_terminal(ports: list[int], columns: int, rows: int) -> None:
    def has_the_numbers(lines: list[str]) -> bool:
        assert len(lines) <= rows
        assert all(len(line) <= columns for line in lines)
        overview = "\n".join(lines[2:5])
        assert re.search(r"^ *requests +[\d.]+/s +[▁▂▃▄▅▆▇█ ]*█", overview)
        assert re.search(r"\n *errors +7\.7% ", overview)
        assert re.search(r"\n *in progress +0 ", overview)
        for name in ("p50", "p95", "p99"):
            assert re.search(rf"{name} +≥?[\d.]+ (µs|ms|s) +[▁▂▃▄▅▆▇█ ]*█", overview)
        urls = after(lines, "url ")
        assert [row[:2] for row in urls] == [["up", f"127.0.0.1:{port}"] for port in ports]
        assert all(float(row[2]) > 0 for row in urls)
        assert [(row[3], row[-1]) for row in urls] == [("7.7%", f"{demo.TRACKED}")] * 2
        routes = after(lines, "route ")
        totals = dict(zip(BY_NAME, ("2", "2", "2", "6", "6", "2", "6"), strict=True))
        assert {row[0]: row[-1] for row in routes} == totals
        assert {row[0]: row[2] for row in routes} == {
            name: "100%" if name.endswith("invoice") else "0%" for name in BY_NAME
        }
        rates = [float(row[1]) for row in routes]
        assert rates == sorted(rates, reverse=True)
        return True

    with terminal([*COMMAND, *(f"127.0.0.1:{port}" for port in ports)], columns, rows) as window:
        window.shows(lambda lines: "2 of 2 up" in "".join(lines[:1]))
        visit(ports)
        window.shows(has_the_numbers)
        window.keys("n")
        window.shows(lambda lines: "sorted by name" in lines[0] and names(lines) == BY_NAME)
        window.keys("e")
        window.shows(
            lambda lines: "sorted by errors" in lines[0] and names(lines)[:1] == BY_NAME[5:6]
        )
        window.keys("l")
        window.shows(lambda lines: "sorted by latency" in lines[0])
        window.keys("r")
        window.shows(lambda lines: "sorted by rate" in lines[0])
        window.keys("q")
        # The screen of before is back, without a trace.
        window.shows(lambda lines: lines == ["rc=0"] + [""] * (rows - 1))


def test_a_service_that_is_there_and_one_that_is_not_in_a_terminal_that_changes_its_size() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(werkzeug(make_hostile_app()))
        window = stack.enter_context(terminal([*COMMAND, server.url, "127.0.0.1:1"], 80, 24))
        worker = re.compile(rf"^127.0.0.1:{server.port} +[\d.]+% +\d+ MiB +\d+$", re.MULTILINE)

        def has_all(lines: list[str]) -> bool:
            assert "1 of 2 up" in lines[0]
            urls = after(lines, "url ")
            assert urls[1:] == [
                ["down", "127.0.0.1:1"],
                ["127.0.0.1:1:", "Connection", "refused"],
            ]
            assert any(line.startswith(ESCAPED[:25]) for line in lines)
            return worker.search("\n".join(lines)) is not None

        window.shows(has_all)
        window.resize(60, 10)
        window.shows(lambda lines: len(lines) == 10 and "quit" in lines[-1])
        window.resize(100, 30)
        window.shows(lambda lines: len(lines) == 30 and "quit" in lines[-1] and has_all(lines))
        window.keys("C-c")
        window.shows(lambda lines: "rc=0" in lines)


def test_where_nothing_could_be_read_the_exit_code_is_1() -> None:
    with terminal([*COMMAND[:2], "--interval=600", "127.0.0.1:1"], 80, 24) as window:

        def is_as_wide_as(columns: int) -> Callable[[list[str]], bool]:
            return lambda lines: (
                "0 of 1 up" in "".join(lines[:1])
                and "refused" in "".join(lines)
                # with or without room for a scroll bar
                and [columns - len(line) for line in lines if line.startswith("url ")] in ([0], [2])
            )

        window.shows(is_as_wide_as(80))
        window.resize(60, 15)  # the next scrape would be in ten minutes
        window.shows(is_as_wide_as(60))
        window.keys("q")
        window.shows(lambda lines: "rc=1" in lines)


def test_quitting_does_not_wait_for_a_server_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"127.0.0.1:{listener.getsockname()[1]}"
        with terminal([*COMMAND[:2], "--timeout=600", url], 80, 24) as window:
            window.shows(lambda lines: ["wait", url] in after(lines, "url "))
            connection, _ = listener.accept()
            with connection:
                window.keys("q")
                window.shows(lambda lines: "rc=1" in lines)


def test_a_report_in_a_terminal_has_its_width(ports: list[int]) -> None:
    visit(ports[:1])
    command = [*COMMAND[:2], "--once", f"127.0.0.1:{ports[0]}"]
    with terminal(command, 60, 24) as window:
        window.shows(lambda lines: "rc=0" in lines)
        lines = window.screen()
    # A line that is too long for the terminal would go on in the next one.
    widths = {len(line) for line in lines if re.search(r"^(url|route|all|/items) .*p99|ms$", line)}
    assert ["all", f"{demo.TRACKED}", "1", "7.7%"] in [line.split()[:4] for line in lines]
    assert len(widths) == 1
    assert widths.pop() <= 60
