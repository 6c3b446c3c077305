"""The application factory."""

from flask import Flask, redirect, url_for

from .items import make_items
from .measured import make_metrics
from .orders import make_orders
from .stock import OutOfStock, Stock


def create_app(registry=None):
    """Make the shop; without a registry its metrics go to prometheus_client's global one."""
    app = Flask(__name__)
    metrics = make_metrics(registry)
    metrics.init_app(app)
    metrics.register_dashboard("/metrics/live", app)

    stock = Stock()
    app.register_blueprint(make_items(metrics, stock))
    app.register_blueprint(make_orders(metrics, stock))

    @app.route("/")
    def home():
        return redirect(url_for("items.listing"))

    @app.route("/health")
    @metrics.do_not_track()
    def health():
        return "ok"

    @app.errorhandler(OutOfStock)
    def out_of_stock(error):
        return {"error": "out of stock"}, 409

    # Instruments measure commands as well as requests.
    @app.cli.command("refill", with_appcontext=False)
    @metrics.counter("shop_refills", "Refills", labels={"needed": lambda refilled: refilled > 0})
    def refill():
        return stock.refill()

    return app
