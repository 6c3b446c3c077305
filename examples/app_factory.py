"""One metrics object for an application factory: `flask --app examples.app_factory run`."""

from flask import Blueprint, Flask, request

from promweb import PrometheusMetrics

metrics = PrometheusMetrics.for_app_factory(group_by="endpoint")
pages = Blueprint("pages", __name__)


@pages.route("/search")
@metrics.histogram(
    "search_seconds",
    "Time of searches",
    labels={"kind": lambda: "all" if "q" not in request.args else "some"},
)
def search():
    return "found"


def create_app():
    app = Flask(__name__)
    metrics.init_app(app)
    app.register_blueprint(pages)
    return app
