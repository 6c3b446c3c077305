"""`docs/messages.md` has every message of promweb, with what to do about it."""

from __future__ import annotations

import logging
import re

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry

from promweb import PrometheusMetrics
from promweb.adapters.insight.watchdog import UNSEEN
from tests.project.messages import findings, messages, page, unread
from tests.project.remedies import CAUSES, INTERNAL, REMEDIES
from tests.support.paths import ROOT


def test_the_page_is_what_the_source_says() -> None:
    assert (ROOT / "docs/messages.md").read_text() == page(), "run `make messages`"


def test_lines_are_found_by_the_words_of_the_log() -> None:
    """No entry shows a placeholder of Python in place of …."""
    assert not re.search(r"%[\d.]*[a-z]", page())
    assert "`Code blocked the event loop for … s at …." in page()


def test_messages_with_one_remedy_share_a_row() -> None:
    """A remedy that the message has is not written again."""
    text = page().partition("## promweb doctor")[0]
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| `")]
    assert not [row for row in rows if row[-1].startswith("It must be")]
    logged = [tuple(row[1:]) for row in rows if len(row) == 4 and row[-1] != " |"]
    assert [row for row in logged if logged.count(row) > 1] == []


def test_the_page_has_what_the_log_says_in_place_of_a_line() -> None:
    """Another module has these words, and the line has `…` for them."""
    assert f"`at {UNSEEN}`" in page()
    log = (ROOT / "promweb/adapters/insight/watchdog.py").read_text()
    for words in ("outside of requests", "and still does"):
        assert words in log
        assert f"`{words}`" in page()


def test_each_message_has_a_cause_and_a_remedy() -> None:
    """Where the message does not say it, `tests/project/remedies.py` does."""
    without = {message.place: message.text for message in messages() if not all(message.parts)}
    assert without == {}


def test_the_log_has_nothing_else() -> None:
    """These functions pass on lines that others make, and those are on the page."""
    assert unread() == {
        *("deployment.warn_once", "directory_reader.DirectoryReader._warn"),
        *("factories.InstrumentFactories._instrument", "mistakes.warn_of_routes"),
        *("naming.check_defaults", "problems.Problems.tell", "problems.Problems.warn"),
        *("problems._log", "shared.WebMetrics._see_environ", "shared.WebMetrics.init_app"),
        "shared.WebMetrics.start_http_server",
    }


def test_no_remedy_is_of_a_message_that_is_gone() -> None:
    places = {message.place for message in messages()}
    assert {*CAUSES, *REMEDIES} - places == set()
    assert not [place for place in places if place.startswith(INTERNAL)]


def test_messages_are_those_that_a_program_gets(caplog: pytest.LogCaptureFixture) -> None:
    """The source is read as it runs: errors, lines of the log, findings."""
    texts = [message.text for message in messages()]
    app = Flask(__name__)
    with pytest.raises(ValueError, match="max_series=0") as raised:
        PrometheusMetrics(app, max_series=0)
    assert str(raised.value).replace("max_series=0", "max_series=…") in texts

    metrics = PrometheusMetrics(app, registry=CollectorRegistry())
    app.add_url_rule(
        "/<page>",
        view_func=metrics.counter("a", "A.", labels={"b": lambda: 1 / 0})(lambda page: page),
    )
    with caplog.at_level(logging.WARNING, "promweb"):
        app.test_client().get("/home")
        app.test_client().get("/metrics")
    error, warning = (record.msg for record in caplog.records)
    assert error.replace("%r", "…") in texts
    assert warning.replace("'/<page>'", "…") in texts
    assert {"unbounded", "directory", "label-errors"} <= {found.check for found in findings()}
