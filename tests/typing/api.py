"""Code as users write it, for mypy and pyright: decorators keep types, arguments are accepted."""

# pyright: reportUnnecessaryTypeIgnoreComment=true
from __future__ import annotations

import enum
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar, overload

import flask
import flask.views
import pytest
import quart
from prometheus_client import CollectorRegistry, Gauge
from typing_extensions import assert_type

from promweb import (
    NO_PREFIX,
    AsyncPrometheusMetrics,
    ConnexionPrometheusMetrics,
    PrometheusMetrics,
    RequestInfo,
    RESTfulPrometheusMetrics,
    __version__,
)
from promweb.instruments import Counter, Histogram, Summary
from promweb.instruments import Gauge as GaugeInstrument
from promweb.labels import (
    exception_type,
    from_argument,
    from_cookie,
    from_header,
    from_response_header,
    from_view_arg,
)
from promweb.security import all_of, allow_networks, basic_auth, bearer_token
from promweb.server import MetricsServer
from promweb.testing import assert_metric_delta, isolated_registry, snapshot

T = TypeVar("T")


class Area(enum.Enum):
    SHOP = "shop"


def area(request: flask.Request) -> str:
    return request.path


# --- objects -------------------------------------------------------------------------------------

app = flask.Flask(__name__)
metrics = PrometheusMetrics(
    app,
    path="/metrics",
    group_by="url_rule",
    buckets=(0.1, 1),
    default_labels={"service": "shop", "tenant": lambda: flask.request.headers["x-tenant"]},
    excluded_paths=["/health"],
    defaults_prefix=NO_PREFIX,
    registry=CollectorRegistry(),
    max_series=500,
    in_progress=True,
    status_classes=True,
    queue_time="X-Edge-Time",
    event_loop=0.5,
    threads=True,
    background_tasks=False,
)
PrometheusMetrics(None, naming="otel")
later = PrometheusMetrics.for_app_factory(group_by=area)
assert_type(later, PrometheusMetrics)
assert_type(RESTfulPrometheusMetrics.for_app_factory(), RESTfulPrometheusMetrics)
assert_type(ConnexionPrometheusMetrics.for_app_factory(), ConnexionPrometheusMetrics)
assert_type(AsyncPrometheusMetrics.for_app_factory(), AsyncPrometheusMetrics)
PrometheusMetrics(
    None,
    namespace="shop",
    in_progress="group",
    excluded_methods=("OPTIONS",),
    excluded_statuses=(404, 410),
    excluded_unmatched=True,
)
ConnexionPrometheusMetrics(None, buckets=(1, 2), namespace="shop")
RESTfulPrometheusMetrics.for_app_factory(None, path=None, in_progress=True)
texts: list[str] = [__version__, NO_PREFIX]
assert_type(metrics.registry, CollectorRegistry)
assert_type(metrics.max_series, int)

metrics.register_default(metrics.counter("by_endpoint", "Requests."), app=app)
metrics.register_dashboard("/metrics/live")
assert_type(metrics.info("app_info", "About.", version="1.0"), Gauge)
assert_type(metrics.info("more_info", "About.", ["version"], [1]), Gauge)
assert_type(metrics.generate_metrics(None, ["app_info"]), tuple[str, str])


def serve() -> str:
    server = metrics.start_http_server(0, host="127.0.0.1", ssl={"cert": "c.pem", "key": "k.pem"})
    assert_type(server, MetricsServer)
    assert_type(server.port, int)
    server.close()
    return server.url


# --- labels: constants of any type, callables of the response, the return value, or nothing ------


def status(response: flask.Response) -> int:
    return response.status_code


async def user() -> str:
    return quart.request.headers["x-user"]


shared: dict[str, str] = {"service": "shop"}
counted = metrics.counter(
    "calls",
    "Calls.",
    labels={
        "status": lambda response: response.status_code,
        "client": lambda: flask.request.headers["x-client"],
        "code": status,
        "area": Area.SHOP,
        "shard": 3,
    },
)
bounded = metrics.counter(
    "bounded",
    "Calls.",
    labels={
        "client": from_header("X-Client", allowed={"app", "web"}, default="web"),
        "tier": from_cookie("tier", allowed=Area),
        "shop": from_view_arg("shop"),
        "error": exception_type(),
    },
)
labelled = metrics.counter("labelled", "Calls.", labels=shared)

# --- instruments ---------------------------------------------------------------------------------

orders = metrics.counter(
    "orders",
    "Orders",
    labels={"cache": from_response_header("X-Cache"), "sql": from_argument("sql", allowed=["a"])},
    labelnames=["kind"],
    namespace="shop",
    subsystem="web",
    unit="orders",
)
queue = metrics.gauge("queue_length", "Jobs", multiprocess_mode="mostrecent")
rows = metrics.histogram("rows", "Rows", buckets=(1, 10), unit="rows")
sizes = metrics.summary("sizes", "Sizes", labelnames=("kind",))


assert_type(orders, Counter)
assert_type(queue, GaugeInstrument)
assert_type(rows, Histogram)
assert_type(sizes.labels(kind="a"), Summary)


def record() -> None:
    orders.inc(3, kind="gift")
    orders.labels(kind="gift").inc()
    orders.labels("gift").inc(amount=0.5)
    queue.set(4)
    queue.inc()
    queue.dec(2)
    queue.set_to_current_time()
    rows.observe(17)
    sizes.labels(kind=3).observe(1)
    with rows.time(), queue.track_inprogress(), orders.count_exceptions(ValueError, kind="gift"):
        pass
    with queue.time(), orders.count_exceptions((ValueError, KeyError)):
        pass


@orders.labels(kind="page")
@sizes.time(kind="page")
def page(sql: str) -> int:
    return len(sql)


assert_type(page("select"), int)


async def record_async() -> None:
    async with sizes.time(kind="async"), queue.track_inprogress():
        pass


@metrics.on_request
def note(info: RequestInfo) -> None:
    assert_type(info.status, int)
    assert_type(info.exception, type[BaseException] | None)
    assert_type(info.request_bytes, int | None)


note(RequestInfo("GET", "/", 200, 0.5, None, None, 3, 0.25))

# --- decorators keep what they are put on --------------------------------------------------------


@app.get("/")
@counted
@metrics.histogram("seconds", "Seconds.", buckets=(0.1, 1))
@metrics.do_not_track()
def index(name: str = "you") -> str:
    return name


assert_type(index(name="me"), str)


@metrics.gauge("items", "Items in progress.")
def items(count: int) -> Iterator[int]:
    yield from range(count)


assert_type(items(3), Iterator[int])


@metrics.summary("first", "Generic functions stay generic.")
def first(sequence: Sequence[T]) -> T:
    return sequence[0]


assert_type(first(["a"]), str)


@overload
def twice(value: int) -> int: ...
@overload
def twice(value: str) -> str: ...
@labelled
def twice(value: Any) -> Any:
    return value * 2


assert_type(twice("a"), str)


class Basket:
    @counted
    def add(self, name: str, *, amount: int = 1) -> int:
        return len(name) * amount

    @classmethod
    @counted
    def empty(cls) -> Basket:
        return cls()

    @staticmethod
    @counted
    def price(name: str) -> float:
        return len(name)

    @counted
    @staticmethod
    def tax(name: str) -> float:
        return len(name)

    @property
    @counted
    def size(self) -> int:
        return 0


assert_type(Basket().add("tea", amount=2), int)
assert_type(Basket.empty(), Basket)
assert_type(Basket.price("tea"), float)
assert_type(Basket.tax("tea"), float)
assert_type(Basket().size, int)
on_basket: Callable[[Basket, str], int] = Basket.add


@counted
class Page(flask.views.View):
    def __init__(self, title: str) -> None:
        self.title = title

    def dispatch_request(self) -> str:
        return self.title


assert_type(Page("tea").title, str)
app.add_url_rule("/page", view_func=Page.as_view("page", "tea"))

assert_type(counted(partial(index, "me"))(), str)

# --- Quart ---------------------------------------------------------------------------------------

quart_app = quart.Quart(__name__)
async_metrics = AsyncPrometheusMetrics(quart_app)


@quart_app.get("/")
@async_metrics.counter("by_user", "By user.", labels={"user": user})
@async_metrics.summary("work", "Work.")
async def work(times: int = 1) -> str:
    return "x" * times


@quart_app.get("/stream")
@async_metrics.exclude_all_metrics()
async def stream() -> AsyncIterator[bytes]:
    yield b"x"


@quart_app.websocket("/chat")
@async_metrics.counter("chats", "Chats.")
async def chat() -> None:
    await quart.websocket.send("hello")


async def use() -> None:
    assert_type(await work(times=2), str)
    assert_type(await async_metrics.generate_metrics_async(names=["x"]), tuple[str, str])
    assert_type(async_metrics.start_http_server(0), MetricsServer)
    async for chunk in stream():
        assert_type(chunk, bytes)


# --- access --------------------------------------------------------------------------------------


@bearer_token("token", "another")
def inside(name: str) -> str:
    return name


@all_of(allow_networks("10.0.0.0/8", trusted_proxies=1), basic_auth("user", "password"))
async def within(name: str) -> str:
    return name


assert_type(inside("x"), str)
PrometheusMetrics(app, metrics_decorator=bearer_token("token"))
AsyncPrometheusMetrics(quart_app, metrics_decorator=all_of(bearer_token("token")))
later.start_http_server(9100, "127.0.0.1", ssl={"cert": "a", "key": "b", "client_ca": "c"})
later.start_http_server(9100, "127.0.0.1", ssl=ssl.create_default_context())


# --- tests of users ------------------------------------------------------------------------------


async def check(metrics_registry: CollectorRegistry) -> None:
    with assert_metric_delta("calls_total", by=0, registry=metrics_registry, status=200):
        index()
    async with assert_metric_delta("work_sum", by=pytest.approx(0.1)):
        await work()
    with isolated_registry() as registry:
        assert_type(registry, CollectorRegistry)
    assert_type(snapshot(names=["calls"], timings=False), dict[str, float])
