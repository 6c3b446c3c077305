"""An application factory: one metrics object, blueprints, decorators in each of them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, abort, jsonify, redirect, request, url_for
from flask.views import MethodView
from prometheus_client import CollectorRegistry


class OutOfStock(Exception):
    """The shop's own error handler answers it."""


def make_app(library: Any, registry: CollectorRegistry) -> Flask:
    metrics = library.PrometheusMetrics.for_app_factory(registry=registry)
    metrics.info("build", "What was built", ("commit", "branch"), ("abc123", "main"))
    up = metrics.info("up_since", "A gauge of the program's own")

    app = Flask(__name__)
    metrics.init_app(app)
    up.set(3)
    app.register_blueprint(_shop(metrics))
    app.register_blueprint(_admin(metrics), url_prefix="/admin")

    @app.errorhandler(OutOfStock)
    def out_of_stock(error):
        return "out of stock", 409

    @app.errorhandler(404)
    def not_found(error):
        return jsonify(error="not found"), 404

    metrics.register_default(
        metrics.counter(
            "by_endpoint",
            "Calls by endpoint",
            labels={"endpoint": lambda: request.endpoint, "status": lambda r: r.status_code},
        ),
        app=app,
    )
    return app


def _shop(metrics: Any) -> Blueprint:
    shop = Blueprint("shop", __name__)

    @shop.route("/items")
    @metrics.histogram("listing_seconds", "Listing", buckets=(0.5, 1, 2.5))
    def items():
        return {"items": ["pen", "book"]}

    @shop.route("/items/<item>")
    @metrics.counter(
        "item_views", "Views of items", labels={"item": lambda: request.view_args["item"]}
    )
    @metrics.summary("item_seconds", "Times of items", labels={"code": lambda r: r.status_code})
    def item(item):
        if item == "gone":
            abort(410)
        if item == "sold":
            raise OutOfStock
        if item == "broken":
            raise ValueError("broken item")
        if item == "none":
            abort(404)
        return f"item {item}", 200, {"X-Item": item}

    @shop.route("/buy/<item>", methods=["POST"])
    @metrics.counter(
        "sales", "Sales", labels={"shop": "main", "item": lambda: request.view_args["item"]}
    )
    @metrics.gauge("buying", "Purchases in progress", labels={"shop": "main"})
    def buy(item):
        return redirect(url_for("shop.items"))

    @shop.route("/quiet")
    @metrics.exclude_all_metrics()
    @metrics.counter("quiet", "Calls that nobody hears of", labels={"shop": "main"})
    def quiet():
        return "quiet"

    @shop.route("/stream")
    @metrics.counter("streams", "Streams")
    def stream():
        return (part for part in ("a", "b", "c"))

    @shop.errorhandler(410)
    def gone(error):
        return "gone for good", 410

    return shop


def _admin(metrics: Any) -> Blueprint:
    admin = Blueprint("admin", __name__)
    reports = Blueprint("reports", __name__, url_prefix="/reports")

    @admin.before_request
    def authenticate():
        if "X-Admin" not in request.headers:
            return "who are you?", 401
        return None

    class Report(MethodView):
        decorators = (
            metrics.counter("reports", "Reports", labels={"method": lambda: request.method}),
        )

        def get(self, number):
            return f"report {number}"

        def post(self, number):
            return f"made {number}", 201

    reports.add_url_rule("/<int:number>", view_func=Report.as_view("report"))
    admin.register_blueprint(reports)
    return admin


ADMIN = {"headers": {"X-Admin": "yes"}}

REQUESTS = [
    ("GET", "/items"),
    ("GET", "/items"),
    ("GET", "/items/"),
    ("GET", "/items/pen"),
    ("GET", "/items/book"),
    ("GET", "/items/gone"),
    ("GET", "/items/sold"),
    ("GET", "/items/broken"),
    ("GET", "/items/none"),
    ("POST", "/buy/pen"),
    ("GET", "/buy/pen"),
    ("GET", "/quiet"),
    ("GET", "/stream"),
    ("GET", "/admin"),
    ("GET", "/admin/reports/1"),
    ("GET", "/admin/reports/1", ADMIN),
    ("POST", "/admin/reports/2", ADMIN),
    ("DELETE", "/admin/reports/2", ADMIN),
    ("GET", "/metrics"),
    ("GET", "/metrics?name[]=sales_total"),
]
