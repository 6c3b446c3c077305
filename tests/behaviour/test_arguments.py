"""Accepted arguments work; all others are refused before the first request."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from prometheus_client import Gauge

from promweb import AsyncPrometheusMetrics, PrometheusMetrics, RESTfulPrometheusMetrics
from tests.support.legs import Leg


def accepts_odd_names() -> bool:
    """Tell whether this prometheus_client accepts what only Prometheus 3 shows."""
    try:
        Gauge("odd-name", "Never registered.", registry=None)
    except ValueError:
        return False
    return True


ODD_NAMES = pytest.mark.skipif(not accepts_odd_names(), reason="prometheus_client refuses them")


def refusal(error: type[Exception], leg: Leg, **arguments: Any) -> str:
    """Return why a metrics object without an application is refused."""
    with pytest.raises(error) as caught:
        leg.make_metrics(None, **arguments)
    assert caught.type is error
    return str(caught.value)


def le(request: Any) -> str:
    return "x"


def direction(request: Any) -> str:
    return "x"


# --- group_by -----------------------------------------------------------------------------------


def test_group_by_an_attribute_that_requests_lack(leg: Leg) -> None:
    text = refusal(ValueError, leg, group_by="rule")
    assert text.startswith("group_by='rule': did you mean 'url_rule'? Request has no attribute")
    assert text.endswith("as in `def tenant(request): return request.rule`")
    assert "did you mean 'url_rule'?" in refusal(ValueError, leg, group_by="route")
    assert "did you mean" not in refusal(ValueError, leg, group_by="no_such_thing")
    metrics = leg.make_metrics(leg.make_app(), export_defaults=False)
    with pytest.raises(ValueError, match="did you mean 'endpoint'"):
        metrics.export_defaults(group_by="endpoints")


@pytest.mark.parametrize("group_by", ["host", "remote_addr", "scheme", "method_", "json_module"])
def test_group_by_an_attribute_that_requests_have(leg: Leg, group_by: str) -> None:
    if group_by == "method_":
        assert "did you mean 'method'" in refusal(ValueError, leg, group_by=group_by)
    else:
        assert leg.make_metrics(None, group_by=group_by).group_by == group_by


@pytest.mark.parametrize("group_by", ["get_json", "close"])
def test_group_by_what_has_to_be_called(leg: Leg, group_by: str) -> None:
    assert "called or awaited" in refusal(ValueError, leg, group_by=group_by)


def test_group_by_an_attribute_of_the_programs_own_requests(leg: Leg) -> None:
    def set_tenant(request: Any, *args: Any, **kwargs: Any) -> None:
        type(request).__base__.__init__(request, *args, **kwargs)
        request.tenant = "north"

    base = leg.web.Request
    own = type("OwnRequest", (base,), {"__init__": set_tenant, "area": property(lambda self: "a")})
    for group_by, value in (("tenant", "north"), ("area", "a")):
        app = leg.make_app()
        app.request_class = own
        leg.make_metrics(app, group_by=group_by, defaults_prefix=group_by)
        app.add_url_rule("/", "view", leg.view(lambda: "ok"))
        leg.get(app, "/")
        found = leg.label_sets(f"{group_by}_http_request_duration_seconds_count")
        assert [labels[group_by] for labels in found] == [value]


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"group_by": le},
        {"default_labels": {"le": "x"}},
        {"default_labels": {"le": "x"}, "naming": "otel"},
        {
            "default_labels": {"le": "x"},
            "default_latency_as_histogram": False,
            "request_size": True,
        },
    ],
)
def test_a_label_that_buckets_have(leg: Leg, arguments: dict[str, Any]) -> None:
    text = refusal(ValueError, leg, **arguments)
    assert "a label 'le' is the upper bound of a histogram's bucket; give yours another" in text


def test_a_label_that_quantiles_have(leg: Leg) -> None:
    arguments = {"default_labels": {"quantile": "x"}, "default_latency_as_histogram": False}
    assert "default_labels: a label 'quantile'" in refusal(ValueError, leg, **arguments)
    leg.make_metrics(None, default_labels={"quantile": "x"})
    leg.make_metrics(None, default_labels={"le": "x"}, default_latency_as_histogram=False)


@pytest.mark.parametrize(
    "arguments", [{"group_by": direction}, {"default_labels": {"close_code": "x"}}]
)
def test_labels_of_websockets(leg: Leg, arguments: dict[str, Any]) -> None:
    if leg.name.startswith("quart"):
        assert "websocket" in refusal(ValueError, leg, **arguments)
    else:
        leg.make_metrics(None, **arguments)
    leg.make_metrics(None, websockets=False, **arguments)


def test_a_default_label_that_cannot_work_is_refused_before_there_is_an_application(
    leg: Leg,
) -> None:
    text = refusal(ValueError, leg, default_labels={"who": lambda first, second: "x"})
    assert "'who'" in text
    assert "without arguments or with one" in text


@ODD_NAMES
def test_labels_that_older_versions_of_prometheus_confuse(leg: Leg) -> None:
    text = refusal(ValueError, leg, default_labels={"app-name": "a", "app_name": "b"})
    assert "'app-name' and 'app_name' are both 'app_name'" in text
    metrics = leg.make_metrics(None)
    with pytest.raises(ValueError, match=r"counter 'calls': the labels 'a\.b' and 'a_b'"):
        metrics.counter("calls", "Calls.", {"a.b": 1, "a_b": 2})


def test_a_label_that_is_none_is_warned_of(leg: Leg, caplog: pytest.LogCaptureFixture) -> None:
    metrics = leg.make_metrics(None, default_labels={"region": None})
    metrics.counter("calls", "Calls.", {"tier": None})
    metrics.counter("runs", "Runs.", {"tier": "gold"})
    assert [record.getMessage() for record in caplog.records] == [
        f"{where} is None, which becomes the text 'None'. Give it a value, or leave it out."
        for where in ("default_labels: the label 'region'", "counter 'calls': the label 'tier'")
    ]
    assert leg.value("calls_total", tier="None", region="None") == 0


# --- names that only Prometheus 3 shows ---------------------------------------------------------


@ODD_NAMES
def test_odd_names_work_and_are_warned_of_once(leg: Leg, caplog: pytest.LogCaptureFixture) -> None:
    app = leg.make_app()
    odd = {"defaults_prefix": "my-shop", "default_labels": {"app-name": "shop"}}
    metrics = leg.make_metrics(app, **odd)
    leg.make_metrics(leg.make_app(), **odd)
    metrics.gauge("in-use", "In use.", {"floor/room": "1"})
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    leg.get(app, "/")
    warned = [record.getMessage() for record in caplog.records]
    assert [text.partition(" has characters")[0] for text in warned] == [
        "defaults_prefix='my-shop'",
        "default_labels: the label 'app-name'",
        "gauge 'in-use'",
        "gauge 'in-use': the label 'floor/room'",
    ]
    assert "Prometheus 3 shows 'my-shop', older ones 'my_shop'" in warned[0]
    text = leg.get(app, "/metrics").text
    line = 'my_shop_http_request_total{app_name="shop",method="GET",status="200"} 1.0'
    assert line in text.splitlines()
    utf8 = {"Accept": "text/plain;version=1.0.0;escaping=allow-utf-8"}
    text = leg.get(app, "/metrics", headers=utf8).text
    assert '{"my-shop_http_request_total","app-name"="shop",method="GET",status="200"} 1.0' in text


@pytest.mark.skipif(accepts_odd_names(), reason="prometheus_client accepts them")
def test_odd_names_are_refused_where_prometheus_client_does(leg: Leg) -> None:
    assert "defaults_prefix='my-shop'" in refusal(ValueError, leg, defaults_prefix="my-shop")
    text = refusal(ValueError, leg, default_labels={"app-name": "shop"})
    assert "default_labels: invalid label name 'app-name'" in text


# --- flags, buckets, paths ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "argument",
    [
        *("in_progress", "request_size", "response_size", "response_start"),
        *("websockets", "status_classes", "excluded_unmatched"),
    ],
)
def test_a_flag_that_is_neither_true_nor_false(leg: Leg, argument: str) -> None:
    for wrong in ("no", "", 2, [], "True"):
        text = refusal(TypeError, leg, **{argument: wrong})
        flags = "True, False or 'group'" if argument == "in_progress" else "True or False"
        assert text == f"{argument}={wrong!r}: must be {flags}"
    for right in (True, False, 1, 0, None):
        assert getattr(leg.make_metrics(None, **{argument: right}), argument) is bool(right)


@pytest.mark.parametrize(
    ("buckets", "error", "part"),
    [
        ((1, 1), ValueError, "greater than the one before"),
        ((2, 1), ValueError, "greater than the one before"),
        ((1, float("inf"), float("inf")), ValueError, "greater than the one before"),
        ((float("nan"), 1), ValueError, "greater than the one before"),
        ((1, float("nan")), ValueError, "greater than the one before"),
        ((float("nan"),), ValueError, "greater than the one before"),
        ((), ValueError, "at least one number"),
        ((float("inf"),), ValueError, "at least one number"),
        ("12", TypeError, "several numbers"),
        (b"12", TypeError, "several numbers"),
        (0.5, TypeError, "several numbers"),
        ((1, "x"), ValueError, "must be numbers"),
        ((1, None), TypeError, "must be numbers"),
    ],
)
def test_buckets_that_cannot_work(leg: Leg, buckets: Any, error: Any, part: str) -> None:
    metrics = leg.make_metrics(leg.make_app(), export_defaults=False)
    for where, give in (
        ("", lambda: leg.make_metrics(None, buckets=buckets)),
        ("", lambda: metrics.export_defaults(buckets=buckets)),
        (" of histogram 'sizes'", lambda: metrics.histogram("sizes", "Sizes.", buckets=buckets)),
    ):
        with pytest.raises(error) as caught:
            give()
        assert str(caught.value).startswith(f"buckets={buckets!r}{where}: ")
        assert part in str(caught.value)
        assert "as in buckets=(0.1, 0.5, 1)" in str(caught.value)


def test_buckets_may_be_text_and_come_from_an_iterator(leg: Leg) -> None:
    leg.make_metrics(leg.make_app(), buckets=iter(["0.5", "1"]))
    metrics = leg.make_metrics(None, defaults_prefix="other")
    metrics.histogram("sizes", "Sizes.", buckets=iter((-1, 2)))(lambda: None)()
    assert [labels["le"] for labels in leg.label_sets("sizes_bucket")] == ["-1.0", "2.0", "+Inf"]


@pytest.mark.parametrize("path", ["/metrics/<name>", "/<path:all>", "/metrics?x=1", "/a#b"])
def test_a_path_that_is_not_one_path(leg: Leg, path: str) -> None:
    assert refusal(ValueError, leg, path=path).startswith(f"path={path!r}: must be one path")
    metrics = leg.make_metrics(leg.make_app(), path=None)
    for give in (metrics.register_endpoint, metrics.register_dashboard):
        with pytest.raises(ValueError, match="must be one path"):
            give(path)


@pytest.mark.parametrize("paths", [re.compile(b"/x"), b"/x", ["/y", b"/x"]])
def test_excluded_paths_of_bytes(leg: Leg, paths: Any) -> None:
    assert "is for bytes, and paths are text" in refusal(TypeError, leg, excluded_paths=paths)


# --- arguments that there are not ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("group", "group_by"), ("bucket", "buckets"), ("prefix", "defaults_prefix"), ("zzz", "")],
)
def test_an_unknown_argument_suggests_the_nearest(wrong: str, near: str) -> None:
    for cls in (PrometheusMetrics, AsyncPrometheusMetrics, RESTfulPrometheusMetrics):
        for make in (lambda **wrong: cls(None, **wrong), cls.for_app_factory):  # noqa: B023
            with pytest.raises(TypeError) as caught:
                make(**{wrong: 1})  # type: ignore[operator]
            hint = f"; did you mean {near!r}?" if near else ""
            assert str(caught.value) == f"{cls.__name__}: there is no argument {wrong!r}{hint}"


def test_a_multiprocess_mode_that_does_not_exist(leg: Leg) -> None:
    with pytest.raises(
        ValueError, match=r"gauge 'a': multiprocess_mode='newest': must be one of al"
    ):
        leg.make_metrics(None).gauge("a", "A.", multiprocess_mode="newest")


def test_arguments_that_are_missing_or_too_many(leg: Leg) -> None:
    with pytest.raises(TypeError, match=r"missing a required argument: 'app'; .* for_app_factory"):
        PrometheusMetrics()  # type: ignore[call-arg]
    metrics = leg.make_metrics(None)
    for kind, wrong, near in (
        ("counter", "label", "labels"),
        ("histogram", "bucket", "buckets"),
        ("gauge", "multiprocess", "multiprocess_mode"),
    ):
        text = f"^{kind} 'x': there is no argument {wrong!r}; did you mean {near!r}"
        with pytest.raises(TypeError, match=text):
            getattr(metrics, kind)("x", "X.", **{wrong: 1})
    with pytest.raises(TypeError, match=r"^counter 'x': there is no argument 'buckets'$"):
        metrics.counter("x", "X.", buckets=(1, 2))
    with pytest.raises(TypeError, match=r"^export_defaults: there is no argument 'group'; did you"):
        metrics.export_defaults(group="x")
    with pytest.raises(TypeError, match=r"^info 'x': missing a required argument: 'description'$"):
        metrics.info("x")
    with pytest.raises(TypeError, match=r"^init_app: missing a required argument: 'app'$"):
        metrics.init_app()
    with pytest.raises(
        TypeError, match=r"^start_http_server: there is no argument 'hots'; did you"
    ):
        metrics.start_http_server(0, hots="::")


# --- a route of the application's own -----------------------------------------------------------


@pytest.mark.parametrize("first", ["application", "promweb"])
def test_a_route_at_the_path_of_the_metrics_is_warned_of(
    leg: Leg, first: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = leg.make_app()
    if first == "promweb":
        leg.make_metrics(app)
    app.add_url_rule("/metrics", "own", leg.view(lambda: "mine"))
    app.add_url_rule("/metrics", "change", leg.view(lambda: "changed"), methods=["POST"])
    if first == "application":
        leg.make_metrics(app)
    is_mine = leg.get(app, "/metrics").text == "mine"
    assert is_mine is (first == "application")
    how = "which answers in place of" if is_mine else "which is hidden behind"
    warned = [record.getMessage() for record in caplog.records]
    assert warned == [
        "path='/metrics': the application has a route of its own there, the endpoint 'own', "
        f"{how} promweb's. Give one of the two another path."
    ]


def test_other_routes_at_the_path_of_the_metrics(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    app = leg.make_app()
    app.add_url_rule("/metrics", "change", leg.view(lambda: "changed"), methods=["POST"])
    leg.make_metrics(app)
    leg.make_metrics(app, defaults_prefix="other")
    assert "exporter_info" in leg.get(app, "/metrics").text
    assert caplog.records == []


# --- names of samples ---------------------------------------------------------------------------


def test_one_name_as_text_restricts_to_that_name(leg: Leg) -> None:
    metrics = leg.make_metrics(None)
    metrics.counter("calls", "Calls.")
    metrics.counter("runs", "Runs.")
    found = [metrics.generate_metrics(names="calls_total")]
    if leg.name.startswith("quart"):
        found.append(asyncio.run(metrics.generate_metrics_async(names="calls_total")))
    for text, _ in found:
        assert [line for line in text.splitlines() if line[0] != "#"] == ["calls_total 0.0"]
