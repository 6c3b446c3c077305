"""`ConnexionPrometheusMetrics` with Connexion 2.15, which the tests of Connexion 3 cannot have."""

from __future__ import annotations

from typing import Any

import connexion
import pytest
from prometheus_client import CollectorRegistry

from promweb import ConnexionPrometheusMetrics, PrometheusMetrics

from .flask_apis import SPECIFICATION

TOTAL = "flask_http_request_total"
EXCEPTIONS = "flask_http_request_exceptions_total"


@pytest.mark.parametrize("how", ["constructor", "init_app", "twice", "flask application"])
def test_each_request_counts_once(how: str) -> None:
    app, registry = connexion.FlaskApp("shop"), CollectorRegistry()
    app.app.logger.disabled = True
    options: dict[str, Any] = {"registry": registry}
    metrics: Any
    if how == "flask application":
        metrics = PrometheusMetrics(app.app, **options)
    else:
        metrics = ConnexionPrometheusMetrics(app if how != "init_app" else None, **options)
    if how in ("init_app", "twice"):
        metrics.init_app(app)

    @metrics.counter("items", "Items.", labels={"status": lambda response: response.status_code})
    def item(number: int, many: int = 1) -> Any:
        return {"number": number}, 201

    operations = {"item": item, "broken": lambda: 1 // 0}
    resolver = connexion.Resolver(lambda name: operations.get(name, item))
    app.add_api(SPECIFICATION, resolver=resolver)
    client = app.app.test_client()
    paths = ["/v1/items/1", "/v1/items/1?many=x", "/v1/broken", "/metrics"]
    assert [client.get(path).status_code for path in paths] == [201, 400, 500, 200]
    for name, labels in [
        (TOTAL, {"method": "GET", "status": "201"}),
        (TOTAL, {"method": "GET", "status": "400"}),
        (TOTAL, {"method": "GET", "status": "500"}),
        (EXCEPTIONS, {"method": "GET", "status": "500"}),
        ("items_total", {"status": "201"}),
    ]:
        assert registry.get_sample_value(name, labels) == 1
    assert registry.get_sample_value(EXCEPTIONS, {"method": "GET", "status": "400"}) is None


def test_the_content_type_of_a_view() -> None:
    app = connexion.FlaskApp("shop")
    metrics = ConnexionPrometheusMetrics(app, registry=CollectorRegistry())
    item = metrics.content_type("text/plain")(lambda number, many=1: "an item")
    app.add_api(SPECIFICATION, resolver=connexion.Resolver(lambda name: item))
    response = app.app.test_client().get("/v1/items/1")
    assert response.content_type == "text/plain; charset=utf-8"  # the exporter's
    assert "an item" in response.text
