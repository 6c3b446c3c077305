"""Metrics that are made at import keep their registry and their numbers: assert changes."""

import pytest
from guestbook import jobs

from promweb.testing import assert_metric_delta


@pytest.mark.parametrize(("entry", "kind"), [("http://example.com", "spam"), ("hello", "old")])
def test_clearing_counts(entry, kind):
    with assert_metric_delta("cleared_entries_total", kind=kind):
        jobs.clear(entry)


def test_beside_an_isolated_registry_the_own_one_is_named(metrics_registry):
    with assert_metric_delta("cleared_entries_total", by=2, registry=jobs.metrics.registry):
        jobs.clear("hello")
        jobs.clear("http://example.com")
