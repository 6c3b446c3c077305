"""The shop's measurements of every request."""

from promweb import PrometheusMetrics


def make_metrics(registry=None):
    """Make the metrics; without a registry they go to prometheus_client's global one."""
    metrics = PrometheusMetrics.for_app_factory(
        defaults_prefix="shop",
        # One series per route, however many items there are.
        group_by="url_rule",
        default_labels={"service": "shop"},
        in_progress=True,
        request_size=True,
        response_size=True,
        registry=registry,
    )
    metrics.info("shop_info", "The shop that runs here", version="1.4.0")
    return metrics
