"""A job beside the applications, whose metrics are made once, when this module is imported."""

from promweb import PrometheusMetrics

metrics = PrometheusMetrics.for_app_factory()


@metrics.counter("cleared_entries", "Entries cleared", labels={"kind": lambda kind: kind})
def clear(entry):
    return "spam" if "http" in entry else "old"
