"""Both services get the same requests, count the same, and a wrong call is found by a test."""

import asyncio

import pytest
from photos import flask_app, quart_app
from photos.measured import Measured
from traffic import COUNTS, REQUESTS

from promweb import PrometheusMetrics
from promweb.testing import assert_metric_delta, isolated_registry, snapshot


def arguments(request):
    headers = {"Content-Type": request["type"]} if "type" in request else {}
    known = {key: request[key] for key in ("method", "data") if key in request}
    return {"headers": headers, **known}


def use_flask(path):
    app = flask_app.create_app(path)
    for where, request in REQUESTS:
        form = {"data": request["form"]} if "form" in request else {}
        app.test_client().open(where, **arguments(request), **form).get_data()
    app.extensions["jobs"].shutdown()


def use_quart(path):
    async def use():
        app = quart_app.create_app(path)
        async with app.test_app():
            for where, request in REQUESTS:
                form = {"form": request["form"]} if "form" in request else {}
                response = await app.test_client().open(where, **arguments(request), **form)
                await response.get_data()

    asyncio.run(use())


@pytest.mark.parametrize("use", [use_flask, use_quart])
def test_everything_is_counted(use, path, metrics_registry):
    with assert_metric_delta("flask_http_request_total", by=9):
        use(path)
    found = snapshot(metrics_registry)
    assert {name: found.get(name) for name in COUNTS} == COUNTS


def test_both_scrapes_are_equal_but_for_timings(tmp_path):
    found = []
    for use in (use_flask, use_quart):
        with isolated_registry() as registry:
            use(str(tmp_path / f"{use.__name__}.db"))
            found.append(snapshot(registry, timings=False))
    for scrape in found:
        assert len(scrape) > 100
    assert found[0] == found[1]


@pytest.mark.parametrize("use", [use_flask, use_quart])
def test_the_service_works_without_metrics(use, path, metrics_registry, monkeypatch):
    monkeypatch.setenv("PROMWEB_DISABLED", "1")
    use(path)
    assert snapshot(metrics_registry) == {}


def test_a_wrong_call_is_found_here(metrics_registry):
    measured = Measured(PrometheusMetrics(None))
    with pytest.raises(ValueError, match="the label 'kind' is missing"):
        measured.uploads.inc(king="png")
