"""Every query of dashboard and rules finds data in a real Prometheus; a burst of errors fires."""

from __future__ import annotations

import itertools
import logging
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric
from quart import Quart
from websockets.sync.client import connect

from examples import demo, shop_flask, shop_quart
from promweb import NO_PREFIX, AsyncPrometheusMetrics, PrometheusMetrics
from tests.support.monitoring import dashboard, panels, printed, rules
from tests.support.prometheus import Prometheus, prometheus
from tests.support.waiting import happens

SCRAPE = ("--scrape-interval", "1s", "--window", "1d")
"""The shortest windows that this interval allows: a burst fires within seconds."""

SHOP = ("--prefix", "shop", "--group-by", "url_rule", "--selector", 'job=~"shop-.+"')
OTEL = ("--naming", "otel", "--selector", 'job=~"shop-.+"')
PLAIN = ("--no-prefix", "--summary", "--no-websockets", "--selector", 'job="plain"')

# Which label values Grafana puts in for its variables.
SHOPS = ["shop-flask", "shop-quart"]
JOBS = {"shop": SHOPS, "otel": SHOPS, "plain": ["plain"]}


FAILING = next(request for request in demo.REQUESTS if request.status == 500)


class Workers:
    """Metrics that worker processes expose: process metrics, with a pid."""

    def collect(self) -> Iterator[Metric]:
        for metric in ProcessCollector(registry=None).collect():
            metric.samples = [
                sample._replace(labels={**sample.labels, "pid": pid})
                for pid, sample in itertools.product(("7", "8"), metric.samples)
            ]
            yield metric


WAITING = {"event_loop": True, "queue_time": True, "threads": True, "background_tasks": True}
"""Arguments of a Quart service; Flask measures the queue time alone."""


def add_everything(app: Any, metrics_class: Any, registry: CollectorRegistry) -> None:
    """Let the shop have what it does not have by itself."""
    waiting = WAITING if metrics_class is AsyncPrometheusMetrics else {}
    metrics_class(
        app,
        path=None,
        defaults_prefix="shop",
        group_by="url_rule",
        default_labels={"service": "shop"},
        response_start=True,
        registry=registry,
        **waiting,
    )
    metrics_class(
        app,
        path=None,
        naming="otel",
        in_progress=True,
        request_size=True,
        response_size=True,
        registry=registry,
        **waiting,
    )
    add_trouble(app, metrics_class, registry)
    registry.register(Workers())


def add_trouble(app: Any, metrics_class: Any, registry: CollectorRegistry) -> None:
    """Add a page with a label that fails, and one with too many values."""
    metrics = metrics_class(app, path=None, export_defaults=False, max_series=2, registry=registry)
    numbers = itertools.count()
    labels = {"number": lambda: next(numbers), "broken": lambda: 1 // 0}

    @app.route("/search")
    @metrics.counter("searches", "Searches", labels=labels)
    def search() -> str:
        return "found"


def make_shop_flask() -> Any:
    registry = CollectorRegistry()
    app = shop_flask.create_app(registry)
    add_everything(app, PrometheusMetrics, registry)
    return app


def make_shop_quart() -> Any:
    from quart import websocket

    registry = CollectorRegistry()
    app = shop_quart.create_app(registry)
    add_everything(app, AsyncPrometheusMetrics, registry)

    @app.websocket("/chat")
    async def chat() -> None:
        await websocket.send(await websocket.receive())

    add_task(app)
    return app


def add_task(app: Any) -> None:
    """Add a page that leaves work behind, some of which fails."""

    async def work() -> None:
        pass

    async def fail() -> None:
        raise ValueError("no mail")

    @app.route("/task")
    async def task() -> str:
        app.add_background_task(work)
        app.add_background_task(fail)
        return "begun"


def make_plain() -> Any:
    registry = CollectorRegistry()
    app = Quart(__name__)
    AsyncPrometheusMetrics(
        app,
        defaults_prefix=NO_PREFIX,
        default_latency_as_histogram=False,
        in_progress=True,
        request_size=True,
        response_size=True,
        response_start=True,
        registry=registry,
        **WAITING,
    )
    add_trouble(app, AsyncPrometheusMetrics, registry)
    add_task(app)

    @app.route("/orders/1/invoice")
    async def invoice() -> None:
        raise RuntimeError("the printer is on fire")

    registry.register(ProcessCollector(registry=None))
    return app


SERVICES: dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "shop-flask": (demo.serve_flask, make_shop_flask),
    "shop-quart": (demo.serve_quart, make_shop_quart),
    "plain": (demo.serve_quart, make_plain),
}


class Scene:
    """Services that run, and a Prometheus that scrapes them and evaluates their rules."""

    def __init__(self, stack: ExitStack, directory: Path, program: str, *names: str) -> None:
        for name in ("examples", "werkzeug", "quart", "hypercorn", "promweb", __name__):
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL + 1)
        self.ports = {
            name: stack.enter_context(serve(make()))
            for name, (serve, make) in SERVICES.items()
            if name in names
        }
        for name, options in (("shop", SHOP), ("otel", OTEL), ("plain", PLAIN)):
            (directory / f"{name}-rules.yml").write_text(printed("rules", *options, *SCRAPE))
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(directory / "*-rules.yml")],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for name, port in self.ports.items()
            ],
        }
        self.server: Prometheus = stack.enter_context(prometheus(config, directory, program))

    def send(self, name: str, *, errors: bool) -> None:
        """Send a service the requests of the demo, and others that make its families appear."""
        for request in demo.REQUESTS:
            if errors or request.status < 500:
                status = demo.ask(self.ports[name], request)
                assert status < 500 or request.status == 500, (name, request)

    def send_everything(self) -> None:
        for name, port in self.ports.items():
            self.send(name, errors=True)
            demo.send(port, "GET", "/search", **{"X-Request-Start": f"t={time.time()}"})
            demo.send(port, "GET", "/task")
        with connect(f"ws://127.0.0.1:{self.ports['shop-quart']}/chat") as chat:
            chat.send("hello")
            chat.recv()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, prometheus_program: str) -> Iterator[Scene]:
    with ExitStack() as stack:
        directory = tmp_path_factory.mktemp("prometheus")
        yield Scene(stack, directory, prometheus_program, *SERVICES)


def has_data(answer: Any) -> bool:
    """Tell whether a result has a number in it."""
    series = answer["result"] if answer else ()
    values = (v for one in series for v in one.get("values", [one.get("value")]))
    return any(math.isfinite(float(value)) for _, value in values)


def all_have_data(scene: Scene, asks: dict[str, Callable[[], bool]]) -> list[str]:
    """Send requests until every query has an answer; return the queries without one."""
    waiting = dict(asks)

    def done() -> bool:
        scene.send_everything()
        for name, ask in list(waiting.items()):
            if ask():
                del waiting[name]
        return not waiting

    happens(done)
    return sorted(waiting)


# Grafana.

SCRAPED_EVERY = 1
STEP = 1
RANGE = 60


def as_grafana(expr: str, service: str) -> str:
    """Put in the values of variables as Grafana does.

    Its Prometheus data source escapes what a value has of regular expressions, twice because it
    goes into a string of PromQL, and joins several with a bar. A rate interval is four scrapes,
    or one more than the step.
    """
    groups = [
        "/items/<item>",
        "/items.csv",
        "/orders/<int:number>/invoice",
        "<unmatched>",
        "/chat",
        "/search",
    ]
    variables = {
        "job": escaped(JOBS[service]),
        "instance": ".*",  # the value for All
        "group": ".*" if service == "plain" else escaped(groups),
        "__rate_interval": f"{max(STEP + SCRAPED_EVERY, 4 * SCRAPED_EVERY)}s",
        "__range": f"{RANGE}s",
    }
    filled = re.sub(r"\$(\w+)", lambda found: variables[found[1]], expr)
    assert "$" not in filled.replace("${1}", "")  # a group of label_replace, which Grafana leaves
    return filled


def escaped(values: list[str]) -> str:
    special = [
        re.sub(r"[$^*{}\[\]'+?.()|]", r"\\\\\g<0>", value.replace("\\", "\\\\\\\\"))
        for value in values
    ]
    return special[0] if len(special) == 1 else f"({'|'.join(special)})"


def ask_target(scene: Scene, target: dict[str, Any], service: str) -> bool:
    expr = as_grafana(target["expr"], service)
    now = time.time()
    if target["instant"]:
        return has_data(scene.server.get("query", query=expr, time=now))
    return has_data(
        scene.server.get("query_range", query=expr, start=now - RANGE, end=now, step=STEP)
    )


def ask_variable(scene: Scene, variable: dict[str, Any], service: str) -> bool:
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
    assert found is not None
    match = as_grafana(found[1], service)
    return bool(scene.server.get(f"label/{found[2]}/values", **{"match[]": match}))


@pytest.mark.parametrize(
    ("service", "arguments"),
    [("shop", (*SHOP, "--multiprocess")), ("otel", (*OTEL, "--multiprocess")), ("plain", PLAIN)],
)
def test_every_query_of_the_dashboard_finds_data(
    scene: Scene, service: str, arguments: tuple[str, ...]
) -> None:
    board = dashboard(*arguments)
    asks = {
        f"{panel['title']}: {target['expr']}": partial(ask_target, scene, target, service)
        for panel in panels(board)
        for target in panel.get("targets", [])
    }
    assert len(asks) > 30
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            asks[variable["name"]] = partial(ask_variable, scene, variable, service)
    assert all_have_data(scene, asks) == []


@pytest.mark.parametrize(("service", "arguments"), [("shop", SHOP), ("otel", OTEL)])
def test_instances_are_counted_once(scene: Scene, service: str, arguments: tuple[str, ...]) -> None:
    (panel,) = (one for one in panels(dashboard(*arguments)) if one["title"] == "Instances")
    query = as_grafana(panel["targets"][0]["expr"], service)

    def counts() -> list[str]:
        scene.send_everything()
        return [one["value"][1] for one in scene.server.vector(query)]

    assert happens(lambda: counts() == ["2"]), counts()


# Rules.


def parts(rule: dict[str, Any]) -> Iterator[str]:
    """Yield the expressions of a rule; those of an alert without their bounds."""
    if "record" in rule:
        yield rule["expr"]
        return
    operators = r"\n?\b(?:and on \(.*\)|and|or|unless)\n|^\(\n|\n\)\n"
    for part in re.split(operators, rule["expr"]):
        if part.strip():
            bare = re.sub(r" (?:>|==) [\d.]+(?: \* [\d.]+)?$", "", part)
            # Drop offsets, as there is no hour of history yet, and drop absent_over_time.
            yield re.sub(r" offset \w+|^absent_over_time\((.*)\[1d\]\)$", r"\1", bare)


@pytest.mark.parametrize("arguments", [SHOP, OTEL, PLAIN])
def test_every_query_of_the_rules_finds_data(scene: Scene, arguments: tuple[str, ...]) -> None:
    def ask(part: str) -> bool:
        return has_data(scene.server.get("query", query=part))

    found = rules(*arguments, *SCRAPE, "--concurrency", "8")
    asks = {part: partial(ask, part) for rule in found for part in parts(rule)}
    assert len(asks) > 20
    assert all_have_data(scene, asks) == []


def test_prometheus_evaluates_every_rule(scene: Scene) -> None:
    def health() -> set[str]:
        groups = (scene.server.get("rules") or {"groups": []})["groups"]
        return {rule["health"] for group in groups for rule in group["rules"]}

    assert happens(lambda: health() == {"ok"}), health()


def test_alerts_about_promweb_fire(scene: Scene) -> None:
    kinds = ("LabelErrors", "SeriesFolded")
    names = {f"{service}{kind}" for service in ("Shop", "HttpServer", "") for kind in kinds}

    def firing() -> set[str]:
        scene.send_everything()
        return {name for name, *_ in alerts(scene.server)}

    assert happens(lambda: names <= firing()), alerts(scene.server)


def test_a_burst_of_errors_fires_for_the_service_that_has_it(
    tmp_path: Path, prometheus_program: str
) -> None:
    with ExitStack() as stack:
        scene = Scene(stack, tmp_path, prometheus_program, "shop-flask", "shop-quart")

        def shares() -> dict[tuple[str, str], float]:
            """Return the share of errors by job and window."""
            metric = "job:shop_http_request_errors_per_request:ratio_rate"
            return {
                (one["metric"]["job"], window): float(one["value"][1])
                for window in ("10s", "2m")
                for one in scene.server.vector(f"{metric}{window}")
            }

        def is_healthy() -> bool:
            for job in scene.ports:
                scene.send(job, errors=False)
            return list(shares().values()) == [0, 0, 0, 0]

        assert happens(is_healthy), (shares(), scene.server.vector("up"))
        assert not [one for one in alerts(scene.server) if "ErrorBudget" in one[0]]

        def fires() -> bool:
            scene.send("shop-flask", errors=False)
            for _ in range(20):
                assert demo.ask(scene.ports["shop-quart"], FAILING) == 500
            names = ("ShopErrorBudgetBurn", "HttpServerErrorBudgetBurn")
            wanted = {(name, "shop-quart", "page", "2m") for name in names}
            return wanted <= alerts(scene.server)

        assert happens(fires), alerts(scene.server)
        assert not [
            one
            for one in alerts(scene.server)
            if "ErrorBudget" in one[0] and one[1] == "shop-flask"
        ]

        def is_over() -> bool:
            is_healthy()
            return not [one for one in alerts(scene.server) if one[3] == "2m"]

        # The short window has no errors any more, the long one still has.
        assert happens(is_over), alerts(scene.server)
        assert shares()["shop-quart", "2m"] > 14.4 * 0.001


def alerts(server: Prometheus) -> set[tuple[str, str, str, str]]:
    """Return the alerts that fire: name, job, severity, long window."""
    found = (server.get("alerts") or {"alerts": []})["alerts"]
    return {
        tuple(  # type: ignore[misc]
            alert["labels"].get(label, "")
            for label in ("alertname", "job", "severity", "long_window")
        )
        for alert in found
        if alert["state"] == "firing"
    }
