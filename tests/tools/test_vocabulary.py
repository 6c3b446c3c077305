"""`promweb top --once` on services with any naming: what it prints equals the scrape."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from promweb.core.defaults.vocabulary import OTEL
from promweb.scrapes.parsing import parse
from promweb.scrapes.snapshot import Snapshot, Sockets
from promweb.tools.cli.group import cli
from tests.support.legs import LEGS, Leg
from tests.support.servers import hypercorn, werkzeug

from .test_top import Expected

NAMINGS: dict[str, dict[str, Any]] = {
    "promweb": {"group_by": "url_rule"},
    "classes": {"group_by": "url_rule", "status_classes": True},
    "otel": {"naming": "otel"},
}
PATHS = ("/200", "/200", "/404", "/503", "/0", "/nowhere")


@pytest.fixture(params=["flask-sync", "quart-async"])
def leg(request: pytest.FixtureRequest) -> Leg:
    return LEGS[request.param]()


def make_app(leg: Leg) -> Any:
    """Return an application with a view that answers with a status, or raises for 0."""
    app = leg.make_app()

    def answer(status: int) -> tuple[str, int]:
        leg.clock.advance(1 / status)
        return "done", status

    app.add_url_rule("/<int:status>", "answer", leg.view(answer))
    return app


def top(app: Any, leg: Leg, *arguments: str) -> Any:
    """Serve an application and return the report about it."""
    serve = werkzeug if leg.web.__name__ == "flask" else hypercorn
    with serve(app) as server:
        done = CliRunner().invoke(
            cli, ["top", "--once", "--format=json", *arguments, server.url], env={"no_proxy": "*"}
        )
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    for url in found["urls"]:
        del url["url"]
    return found


def visit(leg: Leg, app: Any) -> None:
    for path in PATHS:
        leg.get(app, path)


@pytest.mark.parametrize("naming", NAMINGS)
def test_the_report_equals_the_scrape(leg: Leg, naming: str) -> None:
    app = make_app(leg)
    metrics = leg.make_metrics(app, in_progress=True, **NAMINGS[naming])
    visit(leg, app)
    is_otel = naming == "otel"
    duration = (
        "http_server_request_duration_seconds"
        if is_otel
        else ("flask_http_request_duration_seconds")
    )
    route, status = (
        ("http_route", "http_response_status_code") if is_otel else ("url_rule", "status")
    )
    everything = Expected(status)
    routes: dict[str, Expected] = defaultdict(lambda: Expected(status))
    for family in text_string_to_metric_families(metrics.generate_metrics()[0]):
        for sample in family.samples:
            if family.name == duration:
                everything.add(sample)
                routes[sample.labels[route] or "<unmatched>"].add(sample)
    assert (everything.count, everything.errors) == (6, 2)
    assert top(app, leg) == {
        "version": 1,
        "requests": everything.report(),
        "exceptions": 1,
        "in_progress": 0,
        "routes": [{"route": name, **routes[name].report()} for name in sorted(routes)],
        "websockets": [],
        "event_loop": [],
        "waits": [],
        "workers": [],
        "urls": [
            {
                "up": True,
                "error": None,
                "prefix": "http_server_" if is_otel else "flask_",
                "group": route,
                "requests": everything.report(),
            }
        ],
    }
    assert set(routes) == {"/<int:status>", "<unmatched>"}


def test_both_namings_of_one_application_say_the_same(leg: Leg) -> None:
    app = make_app(leg)
    leg.make_metrics(app, group_by="url_rule", in_progress=True)
    leg.make_metrics(app, naming="otel", path=None, in_progress=True)
    visit(leg, app)
    found = [top(app, leg, *chosen) for chosen in ((), ("--prefix", "http_server_"))]
    names = [(url.pop("prefix"), url.pop("group")) for one in found for url in one["urls"]]
    assert names == [("flask_", "url_rule"), ("http_server_", "http_route")]
    assert found[0] == found[1]
    assert found[0]["requests"]["count"] == len(PATHS)


def test_websockets_have_no_prefix_where_the_names_are_opentelemetrys() -> None:
    text = (
        f"# TYPE {OTEL.duration} histogram\n"
        'websocket_connections_in_progress{http_route="/chat"} 2\n'
        'websocket_connections_in_progress{http_route=""} 1\n'
    )
    assert Snapshot.of(parse(text)).sockets == {"/chat": Sockets(2), "<unmatched>": Sockets(1)}


def test_the_names_are_those_that_are_recorded(leg: Leg) -> None:
    """A wrong name would look like a number that is missing."""
    app = make_app(leg)
    leg.make_metrics(app, naming="otel", in_progress=True)
    visit(leg, app)
    (labels, *_) = leg.label_sets(f"{OTEL.duration}_count")
    assert {OTEL.method, OTEL.status, OTEL.group, OTEL.error} <= set(labels)
    assert leg.label_sets(OTEL.in_progress)
