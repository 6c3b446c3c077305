"""The live page in a real Chromium: it shows what was driven through the application."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily
from websockets.sync.client import connect

from examples import demo, shop_flask, shop_quart
from tests.support.browser import LivePage, open_live, start_browser
from tests.support.legs import LEGS, Leg
from tests.support.paths import ROOT
from tests.support.servers import Server, hypercorn, werkzeug
from tests.support.waiting import becomes

SCREENSHOTS = ROOT / "build/screenshots"
LIVE = "/metrics/live"
UNKNOWN = "\N{EN DASH}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with start_browser() as browser:
        yield browser


@pytest.fixture(params=["flask-sync", "quart-async"])
def leg(request: pytest.FixtureRequest) -> Leg:
    return LEGS[request.param]()


class Shop:
    """A served application whose requests take as long as they are asked to."""

    def __init__(self, leg: Leg, stack: ExitStack, **kwargs: Any) -> None:
        self.leg = leg
        self.broken = False
        self.app = app = leg.make_app()
        self.metrics = leg.make_metrics(app, group_by="url_rule", in_progress=True, **kwargs)
        self.metrics.register_dashboard(LIVE)

        def work(milliseconds: int) -> tuple[str, int]:
            leg.clock.advance(milliseconds / 1000)
            return "done", int(leg.web.request.args.get("status", 200))

        app.add_url_rule("/<int:milliseconds>", "fast", leg.view(work))
        app.add_url_rule("/slow/<int:milliseconds>", "slow", leg.view(work))
        if leg.web.__name__ == "quart":
            app.add_websocket("/echo", "echo", self.echo)
        serve = werkzeug if leg.web.__name__ == "flask" else hypercorn
        self.server: Server = stack.enter_context(serve(app))
        self.client = stack.enter_context(httpx.Client(base_url=self.server.url))
        self.url = self.server.url + LIVE

    async def echo(self) -> None:
        while True:
            await self.leg.web.websocket.send(await self.leg.web.websocket.receive())

    def get(self, *paths: str) -> None:
        """Send requests, and wait until they are recorded."""
        before = self.requests()
        for path in paths:
            self.client.get(path)
        becomes(self.requests, before + len(paths))

    def requests(self) -> float:
        name = "flask_http_request_total"
        return sum(self.leg.value(name, **labels) or 0 for labels in self.leg.label_sets(name))


@pytest.fixture
def shop(leg: Leg) -> Iterator[Shop]:
    with ExitStack() as stack:
        yield Shop(leg, stack)


@pytest.fixture
def live(shop: Shop, browser: Browser) -> Iterator[LivePage]:
    with open_live(browser, shop.url) as live:
        live.shown()
        yield live
        assert live.page.evaluate("violations") == []
        assert live.complaints == []


def test_numbers_are_those_of_the_traffic(shop: Shop, live: LivePage) -> None:
    expect(live.page.locator("#routes")).to_contain_text("No requests yet.")
    assert live.table("routes") == []

    shop.get("/300", "/400", "/500", "/slow/2000?status=500")
    live.step()
    assert live.numbers("rate") == ["2.00"]
    assert live.numbers("errors") == ["0 %", "25.0 %"]
    # Three in the bucket from 250 to 500 ms, one in that from 1 to 2.5 s, evenly spread.
    assert live.numbers("durations") == ["417 ms", "2.20 s", "2.44 s"]
    assert live.numbers("in-progress") == ["0"]
    slow, fast = "GET /slow/<int:milliseconds>", "GET /<int:milliseconds>"
    assert live.table("routes") == [
        [slow, "0.50/s", "0 %", "100 %", "1.75 s", "2.43 s", "2.49 s", "1"],
        [fast, "1.50/s", "0 %", "0 %", "375 ms", "488 ms", "498 ms", "3"],
    ]
    assert not live.page.locator("#routes .empty").is_visible()

    live.step()  # nothing happened, and a point covers ten seconds
    assert live.numbers("rate") == ["1.00"]
    shop.get(*["/1"] * 32)
    live.step()
    assert live.numbers("rate") == ["6.00"]
    live.step(5)  # which have passed
    assert live.numbers("rate") == ["0.00"]
    assert live.numbers("errors") == [UNKNOWN, UNKNOWN]
    assert live.numbers("durations") == [UNKNOWN, UNKNOWN, UNKNOWN]
    live.step(25)  # the minute of the tables has, too
    assert live.table("routes") == [
        [fast, "0.00/s", *[UNKNOWN] * 5, "35"],
        [slow, "0.00/s", *[UNKNOWN] * 5, "1"],
    ]
    rate = live.page.locator("#rate")
    assert rate.locator(".more").inner_text() == "highest 6.00"
    expect(rate.locator(".plot")).to_have_attribute(
        "aria-label", "Requests per second: 0.00, highest 6.00"
    )


def test_plots_show_the_numbers_of_the_moment_pointed_at(shop: Shop, live: LivePage) -> None:
    shop.get("/300", "/300")
    live.step()
    live.step()
    plots = live.page.locator(".u-over")
    assert plots.count() == 4
    box = plots.first.bounding_box()
    assert box is not None
    live.page.mouse.move(box["x"] + box["width"] - 8, box["y"] + 20)  # the first of two points
    expect(live.page.locator("#rate .more")).to_have_text("at 12:00:02")
    assert live.numbers("rate") == ["1.00"]
    expect(live.page.locator("#durations .more")).to_have_text("at 12:00:02")
    live.page.mouse.move(0, 0)
    expect(live.page.locator("#rate .more")).to_have_text("highest 1.00")
    assert live.numbers("rate") == ["0.50"]


def test_routes_are_sorted_by_whatever_is_asked(shop: Shop, live: LivePage) -> None:
    shop.get("/1", "/1", "/900", "/slow/300", "/nowhere")
    live.step()
    by = {name: live.page.get_by_role("button", name=name) for name in ("Route", "Rate", "p50")}

    def routes() -> list[str]:
        return [row[0].split("/")[1] if "/" in row[0] else row[0] for row in live.table("routes")]

    # As it comes: none failed, so the slowest is first.
    assert routes() == ["<int:milliseconds>", "slow", "GET <unmatched>"]
    expect(live.page.get_by_role("columnheader", name="5xx")).to_have_attribute(
        "aria-sort", "descending"
    )
    by["p50"].click()
    assert routes() == ["slow", "<int:milliseconds>", "GET <unmatched>"]
    by["p50"].press("Enter")
    assert routes() == ["GET <unmatched>", "<int:milliseconds>", "slow"]
    expect(live.page.locator("#routes th[aria-sort]")).to_have_text("p50")
    expect(live.page.locator("#routes th[aria-sort]")).to_have_attribute("aria-sort", "ascending")
    by["Route"].click()
    assert routes() == ["<int:milliseconds>", "slow", "GET <unmatched>"]
    by["Rate"].click()
    assert routes()[0] == "<int:milliseconds>"
    shop.get(*["/slow/1"] * 4)
    live.step()
    assert routes()[0] == "slow"
    expect(by["Rate"]).to_be_focused()  # rows move, and the focus stays


def test_a_failing_application_is_said_to_fail_until_it_recovers(
    shop: Shop, live: LivePage
) -> None:
    class Failing:
        def collect(self) -> Iterator[Any]:
            if shop.broken:
                raise ConnectionError
            return iter(())

    shop.leg.registry.register(Failing())
    status, problem = live.page.locator("#status"), live.page.locator("#problem")
    expect(status).to_have_text("Live")
    expect(problem).to_be_hidden()
    shop.get("/1", "/1")
    live.step()

    shop.broken = True
    live.wait(2)
    expect(status).to_have_text("No answer")
    expect(problem).to_contain_text("It answered 500. The collector ")
    expect(problem).to_contain_text("The numbers are from 12:00:02. Trying again.")
    assert problem.get_attribute("role") == "alert"
    assert live.numbers("rate") == ["1.00"]

    shop.broken = False
    live.page.route("**/*=scrape", lambda route: route.abort("connectionrefused"))
    live.wait(2)
    expect(problem).to_have_text(
        "The app does not answer. The numbers are from 12:00:02. Trying again."
    )
    live.page.unroute("**/*=scrape")
    live.page.route(
        "**/*=scrape", lambda route: route.fulfill(body="<p>Log in", content_type="text/html")
    )
    live.wait(2)
    expect(problem).to_contain_text("The answer is not metrics. Does a login page answer?")
    live.page.unroute("**/*=scrape")

    shop.get("/1", "/1")
    live.step()
    expect(status).to_have_text("Live")
    expect(problem).to_be_hidden()
    assert live.numbers("rate") == ["0.40"]  # four in ten seconds
    # The browser itself logs the requests that failed, and nothing else.
    assert len(live.complaints) == 2
    assert all("Failed to load resource" in complaint for complaint in live.complaints)
    live.complaints.clear()


def test_it_rests_when_paused_and_when_hidden(shop: Shop, live: LivePage) -> None:
    shop.get("/1", "/1")
    live.step()
    live.page.get_by_role("button", name="Pause").click()
    expect(live.page.locator("#status")).to_have_text("Paused")
    asked = live.scrapes
    live.wait(20)
    assert live.scrapes == asked

    live.page.get_by_role("button", name="Resume").click()
    live.shown()
    assert live.scrapes == asked + 1
    expect(live.page.locator("#status")).to_have_text("Live")
    assert live.numbers("rate") == ["0.00"]
    box = live.page.locator(".u-over").first.bounding_box()
    assert box is not None
    live.page.mouse.move(box["x"] + box["width"] * 5 / 6, box["y"] + 20)  # ten seconds ago
    expect(live.page.locator("#rate .more")).to_have_text("at 12:00:12")
    assert live.numbers("rate") == [UNKNOWN]

    def hide(hidden: bool) -> None:
        live.page.evaluate(
            """(hidden) => {
                Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
                document.dispatchEvent(new Event("visibilitychange"));
            }""",
            hidden,
        )

    hide(True)
    asked = live.scrapes
    live.wait(60)
    assert live.scrapes == asked
    hide(False)
    live.shown()
    assert live.scrapes == asked + 1
    live.step()
    assert live.scrapes == asked + 2


def test_a_process_that_begins_anew_is_no_negative_rate(shop: Shop, live: LivePage) -> None:
    shop.get(*["/1"] * 10)
    live.step()
    text = shop.metrics.generate_metrics()[0]
    fewer = re.sub(r"(?<=\} )10\.0", "4.0", text)
    assert fewer != text
    live.page.route(
        "**/*=scrape", lambda route: route.fulfill(body=fewer, content_type="text/plain")
    )
    live.step()
    assert live.numbers("rate") == ["3.50"]  # ten, and four from zero, in four seconds


def test_workers_are_shown(shop: Shop, live: LivePage) -> None:
    assert not live.page.locator("#workers").is_visible()

    class Processes:
        seconds = 0.0

        def collect(self) -> Iterator[GaugeMetricFamily]:
            for name, values in {
                "process_cpu_seconds_total": {"11": self.seconds, "12": 2 * self.seconds},
                "process_resident_memory_bytes": {"11": 2**20, "12": 30 * 2**20},
                "process_open_fds": {"10": 4, "11": 5, "12": 6},
                "process_start_time_seconds": {"11": live.now.timestamp() - 90, "12": 0},
            }.items():
                family = GaugeMetricFamily(name, "Name.", labels=["pid"])
                for pid, value in values.items():
                    family.add_metric([pid], value)
                yield family

    processes = Processes()
    shop.leg.registry.register(processes)
    live.step()
    processes.seconds = 1.0
    live.step()
    assert live.table("workers") == [
        ["12", "50.0 %", "30 MiB", "6", "21915 d"],
        ["11", "25.0 %", "1 MiB", "5", "1 min"],
        ["10", UNKNOWN, UNKNOWN, "4", UNKNOWN],
    ]
    live.page.get_by_role("button", name="CPU").click()
    assert [pid for pid, *_ in live.table("workers")] == ["11", "12", "10"]


@pytest.mark.parametrize("leg", ["quart-async"], indirect=True)  # Flask has no websockets
def test_websockets_are_shown(shop: Shop, live: LivePage) -> None:
    assert not live.page.locator("#websockets").is_visible()
    address = shop.server.url.replace("http", "ws") + "/echo"
    with connect(address) as open_one, connect(address) as other:
        live.step()
        for _ in range(6):
            open_one.send("hello")
            assert open_one.recv() == "hello"
        other.close()
        name = "flask_websocket_connections_in_progress"
        becomes(lambda: shop.leg.value(name, url_rule="/echo"), 1.0)
        live.step()
        assert live.table("websockets") == [["/echo", "1", "1.50/s", "1.50/s", "1"]]


@pytest.mark.parametrize("leg", ["quart-async"], indirect=True)  # Flask has no event loop
def test_who_holds_the_event_loop(leg: Leg, browser: Browser) -> None:
    with ExitStack() as stack:
        shop = Shop(leg, stack, event_loop=True)

        async def block() -> str:
            hold(0.3)
            return "done"

        shop.app.add_url_rule("/block", "block", block)
        live = stack.enter_context(open_live(browser, shop.url))
        live.shown()
        assert not live.page.locator("#loops").is_visible()
        shop.get("/block", "/100")
        live.step()
        (worst, share, step, requests), other = live.table("loops")
        assert (worst, requests) == ("/block", "1")
        assert other[0] == "/<int:milliseconds>"
        assert "%" in share
        assert step not in (UNKNOWN, "0.0 ms")


def hold(seconds: float) -> None:
    time.sleep(seconds)


def test_a_summary_has_a_mean_and_no_quantiles(leg: Leg, browser: Browser) -> None:
    with ExitStack() as stack:
        shop = Shop(leg, stack, default_latency_as_histogram=False)
        live = stack.enter_context(open_live(browser, shop.url))
        live.shown()
        shop.get("/100", "/300")
        live.step()
        assert live.numbers("durations") == ["200 ms"]
        assert live.table("routes") == [
            ["GET /<int:milliseconds>", "1.00/s", "0 %", "0 %", "200 ms", "2"]
        ]


def test_one_of_several_prefixes_is_chosen(leg: Leg, browser: Browser) -> None:
    with ExitStack() as stack:
        shop = Shop(leg, stack)
        leg.make_metrics(leg.make_app(), defaults_prefix="other", path=None)
        live = stack.enter_context(open_live(browser, shop.url))
        live.shown()
        expect(live.page.locator("#source")).to_contain_text("flask_*")
        live.page.get_by_label("Prefix").select_option("other_")
        expect(live.page.locator("#source")).to_contain_text("other_*")
        expect(live.page.get_by_label("Prefix")).to_have_value("other_")


def test_both_namings_show_the_same(leg: Leg, browser: Browser) -> None:
    with ExitStack() as stack:
        shop = Shop(leg, stack, status_classes=True)
        leg.make_metrics(shop.app, path=None, naming="otel", in_progress=True)
        live = stack.enter_context(open_live(browser, shop.url))
        live.shown()
        shown = []
        for start in ("flask_", "http_server_"):
            if shown:
                live.page.get_by_label("Prefix").select_option(start)
                live.page.wait_for_url("**/*#http_server_")
                live.shown()
            expect(live.page.locator("#source")).to_contain_text(f"{start}*")
            shop.get("/300", "/400", "/nowhere", "/slow/2000?status=503")
            live.step()
            shown.append(
                [live.numbers(id) for id in ("rate", "errors", "durations", "in-progress")]
            )
            shown.append(live.table("routes"))
        assert shown[:2] == [
            [["2.00"], ["25.0 %", "25.0 %"], ["375 ms", "2.20 s", "2.44 s"], ["0"]],
            [
                [
                    "GET /slow/<int:milliseconds>",
                    "0.50/s",
                    "0 %",
                    "100 %",
                    "1.75 s",
                    "2.43 s",
                    "2.49 s",
                    "1",
                ],
                [
                    "GET /<int:milliseconds>",
                    "1.00/s",
                    "0 %",
                    "0 %",
                    "375 ms",
                    "488 ms",
                    "498 ms",
                    "2",
                ],
                ["GET <unmatched>", "0.50/s", "100 %", "0 %", "2.5 ms", "4.8 ms", "5.0 ms", "1"],
            ],
        ]
        twice = [[*row[:-1], str(2 * int(row[-1]))] for row in shown[1]]
        assert shown[2:] == [shown[0], twice]
        assert live.complaints == []


def test_without_default_metrics_it_says_so(leg: Leg, browser: Browser) -> None:
    with ExitStack() as stack:
        shop = Shop(leg, stack, export_defaults=False)
        live = stack.enter_context(open_live(browser, shop.url))
        expect(live.page.locator("#problem")).to_contain_text("default metrics are off")


def test_the_policy_is_in_force(shop: Shop, browser: Browser) -> None:
    """Were it not, the other tests would have nothing to see."""
    with open_live(browser, shop.url) as live:
        live.page.evaluate(
            "document.head.append(Object.assign(document.createElement('script'), {text: '1'}))"
        )
        live.page.wait_for_function("violations.length")
        assert live.page.evaluate("violations") == ["script-src-elem"]


def test_other_histograms_of_such_names_do_not_stop_it(leg: Leg, browser: Browser) -> None:
    with ExitStack() as stack:
        shop = Shop(leg, stack)
        for name in ("backend", "Backend", "zzz"):  # before ours and after
            Histogram(
                f"{name}_http_request_duration_seconds",
                "Of theirs.",
                ["code"],
                registry=leg.registry,
            ).labels("200").observe(1)
        live = stack.enter_context(open_live(browser, shop.url))
        live.shown()
        shop.get("/100", "/300")
        live.step()
        expect(live.page.locator("#source")).to_contain_text("flask_*")
        expect(live.page.get_by_label("Prefix")).to_be_hidden()
        assert live.numbers("rate") == ["1.00"]
        assert live.complaints == []


def test_label_values_of_any_characters_are_shown(leg: Leg, browser: Browser) -> None:
    odd = ["a\rb", "a\u2028b", "a\u2029b", 'a\\b"', "a b\x85c", "constructor", "__proto__"]
    with ExitStack() as stack:
        shop = Shop(leg, stack)

        def name(request: Any) -> str:
            return str(request.args["name"])

        leg.make_metrics(shop.app, path=None, defaults_prefix="odd", group_by=name)
        for value in odd:
            shop.get(f"/1?name={quote(value)}")
        live = stack.enter_context(open_live(browser, f"{shop.url}#odd_"))
        live.shown()
        expect(live.page.locator("#source")).to_contain_text("odd_*")
        shown = live.page.locator("#routes tbody code").evaluate_all(
            "found => found.map(({ textContent }) => textContent)"
        )
        assert sorted(shown) == sorted(odd)
        assert live.complaints == []


def test_times_are_those_of_the_last_minute(shop: Shop, live: LivePage) -> None:
    """Without a point, and with a single one, which could be anywhere."""

    def times() -> list[str]:
        return [text for text in live.axis("durations") if ":" in text]

    becomes(times, ["11:59:15", "11:59:30", "11:59:45"])
    shop.get("/1")
    live.step()
    becomes(times, ["11:59:15", "11:59:30", "11:59:45"])
    live.step(8)
    becomes(times, ["11:59:30", "11:59:45", "12:00:00"])


def test_the_median_can_be_read_beside_the_slowest(shop: Shop, live: LivePage) -> None:
    """Decades have the same height, whatever the slowest took."""
    shop.get(*["/20"] * 98, "/slow/9000", "/slow/9000")
    live.step()
    assert live.numbers("durations") == ["18 ms", "25 ms", "8.75 s"]
    becomes(
        lambda: [text for text in live.axis("durations") if " " in text],
        ["10 ms", "100 ms", "1 s", "10 s"],
    )


# --- the functions without a page -----------------------------------------------------------------

ENDS = "\r\v\f\x00\x1c\x1d\x1e\x85\u2028\u2029\U0001f600 \xa0=,{}"
"""Characters of a label value that end lines for some readers, and others that are odd."""
TEXT = r"""
# HELP shop_TIME Time
# TYPE shop_TIME histogram
shop_TIME_bucket{method="GET",le="0.5",service="a",status="200",where="/a} 1"} 1
shop_TIME_bucket{method="GET",le="+Inf",service="a",status="200",where="/a} 1"} 3 123456
shop_TIME_count{method="GET",service="a",status="200",where="/a} 1"} 3
shop_TIME_sum{method="GET",service="a",status="200",where="/a} 1"} NaN
shop_TIME_count{method="GET",service="a",status="503",where="\"b\\n\n"} 2.0
shop_TIME_count{method="GET",service="a",status="404",where="ENDS"} 2.0
# TYPE shop_http_request_total counter
shop_http_request_total{method="GET",service="a",status="200"} 3.0
# TYPE shop_exporter_info gauge
# TYPE exporter_info gauge
# TYPE backend_TIME histogram
backend_TIME_count{code="200"} 3
# TYPE TIME summary
# TYPE own_TIME gauge
odd +Inf
even -Inf
nothing
{"a.b"} 1
""".replace("TIME", "http_request_duration_seconds").replace("ENDS", ENDS)


@pytest.fixture
def module(browser: Browser) -> Iterator[LivePage]:
    with ExitStack() as stack:
        shop = Shop(LEGS["flask-sync"](), stack)
        yield stack.enter_context(open_live(browser, shop.url))


def test_the_text_format_is_read(module: LivePage) -> None:
    found = module.call(
        """({ parse, prefixes, read }, text) => {
            const parsed = parse(text);
            const { routes, bounds, histogram, inProgress } = read(parsed, "shop_");
            const value = (name) => String(parsed.samples.get(name)[0].value);
            return {
                prefixes: prefixes(parsed), odd: value("odd"), even: value("even"),
                names: parsed.samples.size, bounds: bounds.map(String), histogram, inProgress,
                routes: [...routes],
            };
        }""",
        TEXT.replace("\n", "\r\n"),
    )
    assert found == {
        "prefixes": ["shop_", ""],
        "odd": "Infinity",
        "even": "-Infinity",
        "names": 7,
        "bounds": ["0.5", "Infinity"],
        "histogram": True,
        "inProgress": None,
        "routes": [
            ["GET /a} 1", [3, 0, 0, 0, 1, 3]],
            ['GET "b\\n\n', [2, 0, 2, 0, 0, 0]],
            [f"GET {ENDS}", [2, 2, 0, 0, 0, 0]],
        ],
    }


INF = float("inf")


def test_quantiles_are_those_of_prometheus(module: LivePage) -> None:
    cases: dict[tuple[Any, ...], float | None] = {
        (0.5, (1, 2, INF), (10, 10, 10)): 0.5,
        (0.5, (1, 2, INF), (0, 10, 10)): 1.5,
        (0.95, (1, 2, INF), (5, 10, 10)): 1.9,
        (0.99, (1, 2, INF), (5, 10, 20)): 2,  # the highest finite bound
        (0.5, (1, 2, INF), (0, 0, 0)): None,
        (0.5, (INF,), (3,)): None,
        (0.5, (), ()): None,
    }
    found = module.call(
        """({ quantile }, cases) => cases.map((values) => {
            const found = quantile(...values);
            return Number.isNaN(found) ? null : found;
        })""",
        [list(map(_as_array, case)) for case in cases],
    )
    assert found == [pytest.approx(value) if value else None for value in cases.values()]


def _as_array(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_ticks_are_exact(module: LivePage) -> None:
    cases = {
        "count": {0: "0", 0.25: "0.25", 0.1 + 0.2: "0.3", 112.5: "112.5", 20000: "20,000"},
        "share": {0: "0 %", 0.0025: "0.25 %", 0.07: "7 %", 1: "100 %"},
        "seconds": {0.00025: "0.25 ms", 0.002: "2 ms", 0.999: "999 ms", 12.25: "12.25 s"},
    }
    found = module.call(
        "({ ticks }, cases) => cases.map(([kind, value]) => ticks[kind](value))",
        [[kind, value] for kind, values in cases.items() for value in values],
        "parts.js",
    )
    assert found == [text for values in cases.values() for text in values.values()]


def test_increases_are_those_since_the_last_reading(module: LivePage) -> None:
    now = [["same", [4, 9]], ["more", [5, 9]], ["anew", [2, 1]], ["new", [3, 3]]]
    before = [["same", [4, 9]], ["more", [4, 7]], ["anew", [8, 7]], ["gone", [1, 1]]]
    found = module.call(
        """({ increases, sum }, [now, before]) => {
            const once = increases(new Map(now), new Map(before));
            return [[...once], [...sum([once, new Map(now)])]];
        }""",
        [now, before],
    )
    once = [["more", [1, 2]], ["anew", [2, 1]], ["new", [3, 3]]]
    twice = [["more", [6, 11]], ["anew", [4, 2]], ["new", [6, 6]], ["same", [4, 9]]]
    assert found == [once, twice]


# --- how it looks ---------------------------------------------------------------------------------

SIZES = {"wide": (1360, 860), "narrow": (360, 780)}


@pytest.mark.parametrize("framework", ["flask", "quart"])
def test_it_is_accessible_and_fits_in_light_and_dark_wide_and_narrow(
    browser: Browser, framework: str
) -> None:
    """Leaves screenshots of the shop's page in `build/screenshots`."""
    make = {"flask": shop_flask, "quart": shop_quart}[framework].create_app
    serve = {"flask": demo.serve_flask, "quart": demo.serve_quart}[framework]
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        port = stack.enter_context(serve(make(CollectorRegistry())))
        pages = {
            (scheme, size): stack.enter_context(
                open_live(
                    browser,
                    f"http://{demo.HOST}:{port}{LIVE}",
                    color_scheme=scheme,
                    viewport=dict(zip(("width", "height"), SIZES[size], strict=True)),
                )
            )
            for scheme in ("light", "dark")
            for size in SIZES
        }
        for live in pages.values():
            live.shown()
        sent = 0
        for step in range(24):
            for request in demo.REQUESTS[: 4 + 5 * step % 11] * (1 + step % 3):
                sent += request.path != "/health"
                demo.ask(port, request)
            demo.scrape(port, sent)
            for live in pages.values():
                live.step()
        for (scheme, size), live in pages.items():
            live.page.screenshot(
                path=SCREENSHOTS / f"live-{framework}-{scheme}-{size}.png", full_page=True
            )
            live.page.clock.resume()  # axe waits for frames
            found = Axe().run(live.page)
            assert found.violations_count == 0, found.generate_report()
            width = live.page.evaluate("document.documentElement.scrollWidth")
            assert width == SIZES[size][0]
            assert live.page.evaluate("violations") == []
            assert live.complaints == []
