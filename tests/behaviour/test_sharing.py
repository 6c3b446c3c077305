"""Many metrics objects, applications and registries at once."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import pytest
import quart
from prometheus_client import CollectorRegistry

from tests.support.legs import Leg
from tests.support.recorded import Done, expected, labels, samples
from tests.support.views import VIEW, plain


def test_two_objects_on_one_app_with_their_own_registries(leg: Leg) -> None:
    app, other = leg.make_app(), CollectorRegistry()
    leg.make_metrics(app)
    leg.make_metrics(app, registry=other, path="/other", defaults_prefix="web", group_by="endpoint")
    app.add_url_rule("/", "view", plain(leg))
    leg.get(app, "/")
    assert "flask_http_request_total" in leg.get(app, "/metrics").text
    assert "web_http_request_total" in leg.get(app, "/other").text
    assert samples(leg.registry) == expected(Done("GET", "/", 202, VIEW))
    assert samples(other) == expected(Done("GET", "view", 202, VIEW), prefix="web_", by="endpoint")


def test_two_objects_on_one_app_with_one_registry_count_once(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    leg.make_metrics(app)
    app.add_url_rule("/", "view", plain(leg))
    leg.get(app, "/")
    leg.get(app, "/metrics")
    assert samples(leg.registry) == expected(Done("GET", "/", 202, VIEW))


def test_two_objects_on_one_app_with_two_prefixes_in_one_registry(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    leg.make_metrics(app, defaults_prefix="web")
    app.add_url_rule("/", "view", plain(leg))
    leg.get(app, "/")
    done = Done("GET", "/", 202, VIEW)
    assert samples(leg.registry) == {**expected(done), **expected(done, prefix="web_")}


def test_second_object_adds_what_it_asks_for(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    leg.make_metrics(app, response_size=True)
    app.add_url_rule("/", "view", plain(leg))
    leg.get(app, "/")
    size = samples(leg.registry)["flask_http_response_size_bytes_sum"]
    assert size == {labels(method="GET", path="/", status="202"): 3.0}


def test_two_registries_at_one_path_are_an_error(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    with pytest.raises(ValueError, match="path='/metrics'"):
        leg.make_metrics(app, registry=CollectorRegistry())


def test_another_schema_in_the_same_registry_is_an_error_that_names_both(leg: Leg) -> None:
    leg.make_metrics(leg.make_app(), group_by="endpoint")
    with pytest.raises(ValueError, match=r"'path'.*'endpoint'"):
        leg.make_metrics(leg.make_app(), group_by="path")


@pytest.mark.parametrize("objects", [1, 2])
def test_two_apps_in_one_registry_add_up(leg: Leg, objects: int) -> None:
    apps = [leg.make_app(), leg.make_app()]
    metrics = [leg.make_metrics(None) for _ in range(objects)]
    for index, app in enumerate(apps):
        metrics[index % objects].init_app(app)
        app.add_url_rule("/", "view", plain(leg))
        app.add_url_rule(f"/{index}", "one", plain(leg))
        leg.get(app, "/")
        leg.get(app, f"/{index}")
        assert leg.get(app, "/metrics").status == 200
    done = [Done("GET", path, 202, VIEW) for path in ("/", "/", "/0", "/1")]
    assert samples(leg.registry) == expected(*done)


def test_app_factory(leg: Leg) -> None:
    cls = type(leg.make_metrics(None, registry=CollectorRegistry()))
    metrics = cls.for_app_factory(registry=leg.registry, group_by="endpoint")
    counted = metrics.counter("calls", "Calls.", {"code": lambda reply: reply.status_code})
    view = counted(plain(leg))
    assert samples(leg.registry) == {}

    def create_app() -> Any:
        app = leg.make_app()
        app.add_url_rule("/", "view", view)
        metrics.init_app(app)
        return app

    for app in (create_app(), create_app()):
        leg.get(app, "/")
        assert "calls_total" in leg.get(app, "/metrics").text
    done = Done("GET", "view", 202, VIEW)
    found = {"calls_total": {labels(code="202"): 2.0}}
    assert samples(leg.registry) == {**expected(done, done, by="endpoint"), **found}


def test_same_pair_twice_changes_nothing(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    rules = len(list(app.url_map.iter_rules()))
    metrics.init_app(app)
    metrics.init_app(app)
    assert len(list(app.url_map.iter_rules())) == rules
    app.add_url_rule("/", "view", plain(leg))
    leg.get(app, "/")
    assert samples(leg.registry) == expected(Done("GET", "/", 202, VIEW))


def test_same_pair_after_the_first_request_changes_nothing(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    app.add_url_rule("/", "view", plain(leg))
    leg.get(app, "/")
    metrics.init_app(app)
    leg.get(app, "/")
    done = Done("GET", "/", 202, VIEW)
    assert samples(leg.registry) == expected(done, done)


def test_an_application_that_nobody_needs_is_freed(leg: Leg) -> None:
    """Test suites make thousands of applications on one registry."""
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    if leg.web is quart and not has_gil and sys.version_info < (3, 14):
        pytest.skip("Python 3.13 without the GIL frees no class, and Quart's parts are classes")
    metrics = leg.make_metrics(None)
    app = leg.make_app()
    metrics.init_app(app)
    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")
    assert leg.get(app, "/").status == 200
    freed = weakref.ref(app)
    del app
    gc.collect()
    assert freed() is None


def test_initialising_again_after_an_error(leg: Leg) -> None:
    """An application is never silently untracked."""
    app = leg.make_app()
    leg.make_metrics(app, group_by="endpoint", path=None)
    metrics = leg.make_metrics(None, path="/other")
    for _ in range(2):
        with pytest.raises(ValueError, match="flask_http_request_duration_seconds"):
            metrics.init_app(app)
