"""Each test has an application and a registry of its own, whatever ran before it."""

import pytest
from guestbook.flask_app import create_app

from promweb.testing import assert_metric_delta, snapshot


@pytest.fixture
def client(metrics_registry):
    return create_app().test_client()


@pytest.mark.parametrize("language", ["en", "de"])
def test_an_entry_counts(client, language):
    with assert_metric_delta("entries_total", language=language):
        client.post("/entries", data={"text": "hello", "language": language})


def test_an_unknown_page_is_no_entry(client):
    with (
        assert_metric_delta("flask_http_request_total", method="GET", status=404),
        assert_metric_delta("entries_total", by=0),
    ):
        client.get("/nowhere")


def test_a_stream_counts_when_it_was_read(client):
    client.post("/entries", data={"text": "hello", "language": "en"})
    with assert_metric_delta("reading_seconds_count"):
        with assert_metric_delta("reading_seconds_count", by=0):
            response = client.get("/entries")
        assert response.text == "hello\n"


def test_this_is_all_that_is_recorded(client, metrics_registry):
    client.post("/entries", data={"text": "hello", "language": "en"})
    found = snapshot(metrics_registry, timings=False)
    del found[next(name for name in found if name.startswith("flask_exporter_info"))]
    assert found == {
        'entries_total{language="en"}': 1,
        "flask_http_request_duration_seconds_count"
        '{method="POST",status="201",url_rule="/entries"}': 1,
        'flask_http_request_total{method="POST",status="201"}': 1,
        "reading_seconds_count": 0,
    }
