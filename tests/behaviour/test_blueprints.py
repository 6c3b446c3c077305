"""A metrics object that is given a blueprint measures the blueprint."""

from __future__ import annotations

from typing import Any

import flask
import pytest
import quart

from tests.support.legs import Leg
from tests.support.recorded import Done, expected, samples


def make_api(leg: Leg, name: str = "api") -> Any:
    api = leg.web.Blueprint(name, "shop", url_prefix=f"/{name}")
    api.add_url_rule("/x", "x", leg.view(lambda: "x"))
    api.add_url_rule("/fail", "fail", leg.view(lambda: 1 / 0))
    return api


def make_app(leg: Leg, *blueprints: Any) -> Any:
    app = leg.make_app()
    app.add_url_rule("/outside", "outside", leg.view(lambda: "outside"))
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


def test_the_requests_of_the_blueprint_are_measured_and_no_others(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    api = make_api(leg)
    leg.make_metrics(api, group_by="endpoint", in_progress=True)
    app = make_app(leg, api)
    for path in ("/api/x", "/api/fail", "/outside", "/api/none", "/none", "/metrics"):
        leg.get(app, path)
    text = leg.get(app, "/api/metrics").text
    assert 'flask_http_request_total{method="GET",status="200"} 1.0' in text
    assert samples(leg.registry) == expected(
        Done("GET", "api.x", 200),
        Done("GET", "api.fail", 500, failed=True),
        by="endpoint",
        in_progress=True,
    )
    told = [r.getMessage() for r in caplog.records if r.name == "promweb"]
    assert told == [
        "Metrics was given the blueprint 'api', so it does not measure requests for other routes, "
        "for none (404, 405), and websockets. Pass the application to measure all."
    ]


def test_nested_blueprints_and_further_registrations(leg: Leg) -> None:
    api, inner = make_api(leg), make_api(leg, "inner")
    leg.make_metrics(api)
    api.register_blueprint(inner)
    app = make_app(leg, api)
    app.register_blueprint(api, name="again", url_prefix="/again")
    other = make_app(leg, api)
    for where, path in ((app, "/api/inner/x"), (app, "/again/x"), (other, "/api/x")):
        assert leg.get(where, path).status == 200
        assert leg.get(where, path.split("/")[1].join(("/", "/metrics"))).status == 200
    assert samples(leg.registry) == expected(
        Done("GET", "/api/inner/x", 200), Done("GET", "/again/x", 200), Done("GET", "/api/x", 200)
    )


def test_two_blueprints_share_a_registry(leg: Leg) -> None:
    one, two, three = (make_api(leg, name) for name in ("one", "two", "three"))
    leg.make_metrics(one)
    leg.make_metrics(two)
    app = make_app(leg, one, two, three)
    for path in ("/one/x", "/two/x", "/three/x"):
        leg.get(app, path)
    assert samples(leg.registry) == expected(Done("GET", "/one/x", 200), Done("GET", "/two/x", 200))


@pytest.mark.parametrize("first", ["blueprint", "application"])
def test_the_application_is_measured_as_well(leg: Leg, first: str) -> None:
    api, app = make_api(leg), leg.make_app()
    app.add_url_rule("/outside", "outside", leg.view(lambda: "outside"))
    leg.make_metrics(api)
    if first == "application":
        leg.make_metrics(app)
    app.register_blueprint(api)
    if first == "blueprint":
        leg.make_metrics(app)
    for path in ("/api/x", "/outside", "/api/metrics", "/metrics"):
        assert leg.get(app, path).status == 200
    assert samples(leg.registry) == expected(
        Done("GET", "/api/x", 200), Done("GET", "/outside", 200)
    )


def test_a_blueprint_of_the_other_framework(leg: Leg) -> None:
    other, framework = (quart, "Flask") if leg.web is flask else (flask, "Quart")
    blueprint = other.Blueprint("api", "shop")
    leg.make_metrics(blueprint)
    app = (other.Quart if other is quart else other.Flask)("shop")
    with pytest.raises(TypeError, match=f"measures a {framework} application"):
        app.register_blueprint(blueprint)


@pytest.mark.parametrize("owner", ["application", "blueprint", "nobody"])
def test_further_endpoints_of_a_blueprint(leg: Leg, owner: str) -> None:
    """They are below its prefix, and no metric sees them."""
    api, app = make_api(leg), leg.make_app()
    owners = {"application": app, "blueprint": api, "nobody": None}
    metrics = leg.make_metrics(owners[owner])
    given = () if owner == "blueprint" else (api,)
    metrics.register_endpoint("/more", *given)
    metrics.register_endpoint("/most", *given)
    metrics.register_dashboard("/live", *given)
    app.register_blueprint(api)
    for path in ("/api/more", "/api/most", "/api/live"):
        assert leg.get(app, path).status == 200
    assert leg.get(app, "/more").status == 404
    unmatched = [Done("GET", "<unmatched>", 404)] if owner == "application" else []
    leg.get(app, "/api/x")
    found = [Done("GET", "/api/x", 200)] if owner != "nobody" else []
    assert samples(leg.registry) == expected(*unmatched, *found)
    with pytest.raises(ValueError, match="path"):
        metrics.register_endpoint("more", leg.web.Blueprint("other", "shop"))


def test_methods_that_need_the_application_say_so(leg: Leg) -> None:
    metrics = leg.make_metrics(make_api(leg))
    with pytest.raises(TypeError, match="the application that it is registered with"):
        metrics.register_default(metrics.counter("calls", "Calls."))
    assert leg.value("calls_total") == 0


def test_decorators_of_its_views(leg: Leg) -> None:
    api = leg.web.Blueprint("api", "shop")
    metrics = leg.make_metrics(api, path=None, export_defaults=False)
    status = {"status": lambda response: response.status_code}
    api.add_url_rule("/x", "x", metrics.counter("calls", "Calls.", status)(leg.view(lambda: "x")))
    app = make_app(leg, api)
    leg.get(app, "/x")
    assert leg.value("calls_total", status="200") == 1
    assert leg.get(app, "/metrics").status == 404
