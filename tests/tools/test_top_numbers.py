"""The numbers of `promweb top`: discovery, sums, differences, quantiles, rates, short texts."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest

from promweb.scrapes.parsing import Exposition, ScrapeError, parse
from promweb.scrapes.report import report
from promweb.scrapes.snapshot import Series, Snapshot, Sockets, Worker
from promweb.scrapes.tally import Tally, increase
from promweb.scrapes.traffic import HISTORY, ORDERS, Point, Row, Traffic
from promweb.tools.terminal import safe
from promweb.tools.top import figures

INF = math.inf


def buckets(*counts: float) -> dict[float, float]:
    """Cumulative counts for the bounds 1, 2, 4 and infinity."""
    return dict(zip((1.0, 2.0, 4.0, INF), counts, strict=True))


def histogram(*counts: float, **labels: object) -> Iterator[str]:
    """Yield the lines of one label set; its sum is ten times its count."""
    text = ",".join(f'{name}="{value}"' for name, value in labels.items())
    name = "shop_http_request_duration_seconds"
    for bound, count in buckets(*counts).items():
        yield f'{name}_bucket{{{text},le="{bound}"}} {count}'
    yield f"{name}_count{{{text}}} {counts[-1]}"
    yield f"{name}_sum{{{text}}} {10 * counts[-1]}"


def snapshot(*lines: str, **options: Any) -> Snapshot:
    return Snapshot.of(parse("\n".join([*lines, ""])), **options)


def one_route(*counts: float, path: str = "/a", status: int = 200) -> Snapshot:
    return snapshot(*histogram(*counts, method="GET", path=path, status=status))


EMPTY = "# TYPE shop_http_request_duration_seconds histogram\n"


# Tallies.


def test_totals_keep_the_bounds_that_all_have() -> None:
    added = Tally.total(
        [
            Tally(4, 1, 2.5, {1.0: 1, 2.0: 3, INF: 4}),
            Tally(6, 0, 1.5, {2.0: 2, 4.0: 5, INF: 6}),
            Tally(),  # of which nothing is known
        ]
    )
    assert added == Tally(10, 1, 4.0, {2.0: 5, INF: 10})
    assert Tally.total([]) == Tally()
    assert Tally.total([added, Tally(1, 0, 1.0)]) == Tally(11, 1, 5.0)


def test_since_subtracts() -> None:
    before = Tally(4, 1, 2.0, buckets(1, 2, 3, 4))
    after = Tally(7, 3, 5.0, buckets(1, 4, 5, 7))
    assert after.since(before) == Tally(3, 2, 3.0, buckets(0, 2, 2, 3))


@pytest.mark.parametrize(
    "after",
    [
        Tally(3, 0, 1.0, buckets(1, 2, 3, 3)),  # less than before
        Tally(5, 0, 1.0, buckets(0, 2, 3, 5)),  # as much, but in other buckets
        Tally(9, 0, 1.0, {1.0: 3, INF: 9}),  # in buckets of another configuration
    ],
)
def test_since_a_restart_everything_counts(after: Tally) -> None:
    assert after.since(Tally(4, 1, 2.0, buckets(1, 2, 3, 4))) is after


def test_a_summary_that_went_down_started_anew() -> None:
    assert Tally(3, 1, 1.0).since(Tally(4, 1, 0.5)) == Tally(3, 1, 1.0)
    assert Tally(6, 1, 1.0).since(Tally(4, 1, 0.5)) == Tally(2, 0, 0.5)


def test_a_counter_that_went_down_started_anew() -> None:
    assert increase(5, 3) == 2
    assert increase(3, 3) == 0
    assert increase(2, 3) == 2


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        ((2, 6, 8, 8), 0.25, 1.0),
        ((2, 6, 8, 8), 0.5, 1.5),
        ((2, 6, 8, 8), 0.75, 2.0),
        ((2, 6, 8, 8), 0.875, 3.0),
        ((2, 6, 8, 8), 0, 0.0),
        ((0, 4, 4, 4), 0.5, 1.5),
        ((0, 0, 0, 3), 0.5, 4.0),  # above every finite bound
        ((1, 1, 1, 2), 0.99, 4.0),
        ((0, 0, 0, 0), 0.5, None),
    ],
)
def test_quantiles_are_those_of_histogram_quantile(
    counts: tuple[float, ...], q: float, expected: float | None
) -> None:
    assert Tally(counts[-1], buckets=buckets(*counts)).quantile(q) == expected


def test_quantiles_need_finite_buckets() -> None:
    assert Tally(3).quantile(0.5) is None
    assert Tally(3, buckets={INF: 3}).quantile(0.5) is None
    assert Tally(3, buckets={1.0: 3}).quantile(0.5) is None
    # A first bound of zero or less has nothing to be linear from.
    assert Tally(3, buckets={-1.0: 3, 1.0: 3, INF: 3}).quantile(0.5) == -1.0
    # Numbers that no histogram has do no harm.
    assert Tally(3, buckets={1.0: 0, INF: math.nan}).quantile(0.5) == 1.0


def test_the_share_of_errors() -> None:
    assert Tally(4, 1).error_share == 0.25
    assert Tally().error_share is None


# Snapshots: what an exposition says.


def test_a_snapshot_has_the_requests_of_each_label_set() -> None:
    found = snapshot(
        *histogram(1, 1, 2, 2, method="GET", path="/a", status=200),
        *histogram(0, 1, 1, 1, method="GET", path="/a", status=503),
        'shop_http_requests_in_progress{method="GET"} 2',
        'shop_http_requests_in_progress{method="PUT"} 1',
        'shop_http_request_exceptions_total{method="GET",status="503"} 1',
    )
    assert (found.prefix, found.group) == ("shop_", "path")
    assert found.in_progress == 3
    assert found.exceptions == 1
    assert list(found.series.values()) == [
        Series("/a", Tally(2, 0, 20.0, buckets(1, 1, 2, 2))),
        Series("/a", Tally(1, 1, 10.0, buckets(0, 1, 1, 1))),
    ]
    assert found.total == Tally(3, 1, 30.0, buckets(1, 2, 3, 3))


def test_a_summary_has_no_buckets() -> None:
    found = snapshot(
        'http_request_duration_seconds_count{method="GET",path="/",status="500"} 2',
        'http_request_duration_seconds_sum{method="GET",path="/",status="500"} 0.5',
    )
    assert found.prefix == ""
    assert found.total == Tally(2, 2, 0.5)


def test_before_the_first_request_there_is_a_prefix_and_no_group() -> None:
    found = snapshot(EMPTY)
    assert (found.prefix, found.group, found.total) == ("shop_", None, Tally())
    assert found.in_progress is None


def test_default_labels_are_not_the_group() -> None:
    labels = {"method": "GET", "status": 200, "service": "s", "tier": "t", "area": "/a"}
    total = 'shop_http_request_total{method="GET",service="s",status="200",tier="t"} 1'
    assert snapshot(*histogram(1, 1, 1, 1, **labels), total).group == "area"


def test_without_the_counter_a_usual_name_is_the_group_or_it_is_asked_for() -> None:
    lines = list(histogram(1, 1, 1, 1, method="GET", status=200, service="s", url_rule="/a"))
    assert snapshot(*lines).group == "url_rule"
    assert snapshot(*lines, group="service").group == "service"
    with pytest.raises(ScrapeError, match="has no label 'path': method, service, status, url_r"):
        snapshot(*lines, group="path")
    lines = list(histogram(1, 1, 1, 1, method="GET", status=200, service="s", area="/a"))
    with pytest.raises(ScrapeError, match="use --group: area, service"):
        snapshot(*lines)
    lines = list(histogram(1, 1, 1, 1, method="GET", status=200))
    with pytest.raises(ScrapeError, match="use --group: there is none"):
        snapshot(*lines)


def test_prefixes_are_chosen_from() -> None:
    both = (EMPTY, "# TYPE api_http_request_duration_seconds histogram\n")
    with pytest.raises(ScrapeError, match="choose one with --prefix: 'api_', 'shop_'"):
        snapshot(*both)
    assert snapshot(*both, prefix="api_").prefix == "api_"
    with pytest.raises(ScrapeError, match=r"no family flask_http_.*: 'shop_'"):
        snapshot(EMPTY, prefix="flask_")
    with pytest.raises(ScrapeError, match="no family whose name ends in http_request_duration_s"):
        snapshot("up 1")


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1e300"])
@pytest.mark.parametrize(
    "line",
    [
        'shop_http_request_duration_seconds_count{method="GET",path="/",status="200"} ',
        "shop_http_requests_in_progress ",
        "shop_http_request_exceptions_total ",
        'shop_websocket_messages_total{path="/",direction="sent"} ',
        "process_resident_memory_bytes ",
    ],
)
def test_what_is_no_number_of_anything_is_an_error(line: str, value: str) -> None:
    with pytest.raises(ScrapeError, match="which cannot be a count"):
        snapshot(EMPTY, line + value)


@pytest.mark.parametrize("bound", ['le="x",', 'le="NaN",', ""])
def test_a_bucket_without_a_bound_is_an_error(bound: str) -> None:
    labels = 'method="GET",path="/",status="200"'
    with pytest.raises(ScrapeError, match="has no bound in its label le"):
        snapshot(
            f"shop_http_request_duration_seconds_bucket{{{bound}{labels}}} 1",
            f"shop_http_request_duration_seconds_count{{{labels}}} 1",
        )


def test_websockets_and_workers() -> None:
    found = snapshot(
        EMPTY,
        'shop_websocket_connections_in_progress{path="/chat"} 3',
        'shop_websocket_connection_duration_seconds_count{close_code="1000",path="/chat"} 4',
        'shop_websocket_connection_duration_seconds_count{close_code="1006",path="/chat"} 1',
        'shop_websocket_messages_total{direction="received",path="/chat"} 7',
        'shop_websocket_messages_total{direction="sent",path="/chat"} 9',
        'shop_websocket_messages_total{direction="sent"} 2',
        'shop_websocket_messages_total{direction="sideways",path="/chat"} 5',
        'process_resident_memory_bytes{pid="7"} 1048576',
        'process_cpu_seconds_total{pid="7"} 1.5',
        'process_resident_memory_bytes{pid="8"} 2097152',
        'process_open_fds{pid="8"} 12',
    )
    assert found.sockets == {"/chat": Sockets(3, 5, 7, 9), "": Sockets(sent=2)}
    assert found.workers == {
        (("pid", "7"),): Worker(1048576, 1.5, None),
        (("pid", "8"),): Worker(2097152, None, 12),
    }


@pytest.mark.skipif(not ProcessCollector(registry=None).collect(), reason="needs /proc")
def test_the_worker_of_prometheus_clients_process_collector_is_found() -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    found = snapshot(EMPTY, generate_latest(registry).decode())
    worker = found.workers[()]
    assert worker.memory > 2**20
    assert worker.cpu is not None
    assert worker.files is not None


# Between two snapshots.


def test_since_is_what_was_counted_in_each_series() -> None:
    before = one_route(1, 1, 1, 1)
    after = snapshot(
        *histogram(1, 2, 2, 3, method="GET", path="/a", status=200),
        *histogram(0, 0, 1, 1, method="GET", path="/b", status=500),
        "shop_http_request_exceptions_total 1",
    ).since(before)
    assert {one.route: one.tally for one in after.series.values()} == {
        "/a": Tally(2, 0, 20.0, buckets(0, 1, 1, 2)),
        "/b": Tally(1, 1, 10.0, buckets(0, 0, 1, 1)),
    }
    assert after.exceptions == 1
    assert after.since(after).series == {}


def test_since_of_websockets_and_workers() -> None:
    def at(messages: int, cpu: float, open_now: int) -> Snapshot:
        return snapshot(
            EMPTY,
            f'shop_websocket_connections_in_progress{{path="/"}} {open_now}',
            f'shop_websocket_messages_total{{path="/",direction="sent"}} {messages}',
            f"process_cpu_seconds_total {cpu}",
            "process_resident_memory_bytes 5",
        )

    counted = at(9, 4.5, 2).since(at(5, 4.0, 3))
    assert counted.sockets == {"/": Sockets(open=2, sent=4)}
    assert counted.workers == {(): Worker(5, 0.5)}
    # The share of a processor is unknown for a new worker.
    assert at(9, 4.5, 2).since(snapshot(EMPTY)).workers == {(): Worker(5, None)}


# Over time.


def test_rates_are_of_the_window_and_totals_since_the_start() -> None:
    traffic = Traffic(["one"], window=10)
    for at, count in ((100, 10), (104, 18), (108, 30), (112, 34)):
        traffic.add("one", at, one_route(0, count, count, count))
        traffic.tick()
    # The step that ended at 104 is within the window, the one before it is outside.
    assert traffic.overall == Row(2.0, Tally(24, 0, 240.0, buckets(0, 24, 24, 24)), 34)
    traffic.add("one", 116, one_route(0, 34, 34, 34))
    # That one ended 12 s ago.
    assert traffic.overall.rate == (12 + 4 + 0) / 12
    assert traffic.routes == {"/a": traffic.overall}
    assert [point.rate for point in traffic.history] == [2.0, 3.0, 1.0]
    assert traffic.history[0] == Point(2.0, 0.0, 1.5, 1.95, 1.99, None)


def test_a_window_that_is_shorter_than_a_step_has_the_last_one() -> None:
    traffic = Traffic(["one"], window=1)
    for at, count in ((0, 0), (5, 10), (10, 40)):
        traffic.add("one", at, one_route(0, count, count, count))
    assert traffic.overall.rate == 6.0


def test_urls_are_summed_and_routes_too() -> None:
    traffic = Traffic(["one", "two", "late"], window=10)
    traffic.add("one", 0, one_route(1, 1, 1, 1))
    traffic.add("two", 0, snapshot(EMPTY))
    assert traffic.overall == Row(0.0, Tally(), 1)
    traffic.tick()
    assert not traffic.history  # nothing is known about any while
    traffic.add("one", 2, one_route(3, 3, 3, 3))
    traffic.add(
        "two",
        4,
        snapshot(
            *histogram(0, 0, 4, 4, method="GET", path="/a", status=200),
            *histogram(0, 0, 0, 2, method="GET", path="/b", status=502),
            'shop_http_requests_in_progress{method="GET"} 2',
        ),
    )
    assert [source.url for source in traffic.up] == ["one", "two"]
    assert traffic.of(traffic.sources["one"]).rate == 1.0
    assert traffic.of(traffic.sources["two"]).rate == 1.5
    assert traffic.of(traffic.sources["late"]) == Row()
    assert traffic.routes == {
        "/a": Row(2.0, Tally(6, 0, 60.0, buckets(2, 2, 6, 6)), 7),
        "/b": Row(0.5, Tally(2, 2, 20.0, buckets(0, 0, 0, 2)), 2),
    }
    assert traffic.overall == Row(2.5, Tally(8, 2, 80.0, buckets(2, 2, 6, 8)), 9)
    assert traffic.in_progress == 2


def test_a_url_that_is_down_counts_in_nothing_until_it_is_back() -> None:
    traffic = Traffic(["one", "two"], window=10)
    for at in (0, 1):
        for url in traffic.sources:
            traffic.add(url, at, one_route(at, at, at, at))
    assert traffic.overall.rate == 2.0
    traffic.add("two", 2, "refused")
    assert traffic.sources["two"].error == "refused"
    assert traffic.overall == traffic.of(traffic.sources["one"])
    assert traffic.overall.rate == 1.0
    # It was away for 20 s, and 40 requests came in the meantime.
    traffic.add("two", 21, one_route(41, 41, 41, 41))
    assert traffic.sources["two"].error is None
    assert traffic.of(traffic.sources["two"]).rate == 2.0


def test_a_restart_counts_from_zero_and_routes_of_before_go_on_in_the_window() -> None:
    traffic = Traffic(["one"], window=10)
    traffic.add("one", 0, one_route(0, 0, 0, 0, path="/old"))
    traffic.add("one", 2, one_route(8, 8, 8, 8, path="/old"))
    traffic.add("one", 4, one_route(2, 2, 2, 2, path="/new"))
    assert traffic.routes["/old"] == Row(2.0, Tally(8, 0, 80.0, buckets(8, 8, 8, 8)), 0)
    assert traffic.routes["/new"] == Row(0.5, Tally(2, 0, 20.0, buckets(2, 2, 2, 2)), 2)


def test_the_history_misses_no_step_and_doubles_none_but_for_one_that_is_late() -> None:
    traffic = Traffic(["one"], window=10)
    traffic.add("one", 0, one_route(0, 0, 0, 0))
    for at, count in ((1, 8), (2, 10)):
        traffic.add("one", at, one_route(count, count, count, count))
    traffic.tick()
    traffic.tick()
    traffic.add("one", 3, one_route(14, 14, 14, 14))
    traffic.tick()
    assert [point.rate for point in traffic.history] == [5.0, 2.0, 4.0]


def test_two_answers_at_the_same_time_are_no_step() -> None:
    traffic = Traffic(["one"], window=10)
    traffic.add("one", 1, one_route(0, 0, 0, 0))
    traffic.add("one", 1, one_route(3, 3, 3, 3))
    assert traffic.overall == Row(0.0, Tally(), 3)


def test_websockets_and_workers_over_time() -> None:
    def at(messages: int, closed: int, cpu: float) -> Snapshot:
        return snapshot(
            EMPTY,
            'shop_websocket_connections_in_progress{path="/"} 2',
            f'shop_websocket_messages_total{{path="/",direction="sent"}} {messages}',
            f'shop_websocket_messages_total{{path="/",direction="received"}} {messages * 2}',
            f'shop_websocket_connection_duration_seconds_count{{path="/"}} {closed}',
            f'process_cpu_seconds_total{{pid="7"}} {cpu}',
            'process_resident_memory_bytes{pid="7"} 5',
        )

    traffic = Traffic(["one", "two"], window=10)
    pid = (("pid", "7"),)
    for url in traffic.sources:
        traffic.add(url, 0, at(1, 1, 1.0))
    assert traffic.sockets == {"/": Sockets(open=4)}
    assert traffic.workers == {("one", pid): Worker(5, None), ("two", pid): Worker(5, None)}
    traffic.add("one", 2, at(5, 3, 1.5))
    assert traffic.sockets == {"/": Sockets(4, 1.0, 4.0, 2.0)}
    assert traffic.workers["one", pid] == Worker(5, 0.25)


def test_the_history_is_bounded() -> None:
    traffic = Traffic(["one"], window=10)
    for at in range(HISTORY + 10):
        traffic.add("one", at, one_route(at, at, at, at))
        traffic.tick()
    assert len(traffic.history) == HISTORY


@pytest.mark.parametrize(
    ("order", "expected"),
    [("rate", "bacd"), ("errors", "cbad"), ("latency", "cabd"), ("name", "abcd")],
)
def test_orders(order: str, expected: str) -> None:
    rows = {
        "a": Row(2.0, Tally(4, 0, 1.0, buckets(0, 4, 4, 4)), 9),
        "b": Row(3.0, Tally(6, 1, 1.0, buckets(6, 6, 6, 6)), 6),
        "c": Row(1.0, Tally(2, 2, 1.0, buckets(0, 0, 2, 2)), 2),
        "d": Row(0.0, Tally(), 50),
    }
    assert "".join(sorted(rows, key=lambda name: ORDERS[order](name, rows[name]))) == expected


# The report.


def test_a_report_has_the_sums_of_all_urls_and_says_what_is_unknown() -> None:
    one = snapshot(
        *histogram(0, 2, 2, 2, method="GET", path="/b", status=200),
        *histogram(0, 0, 1, 1, method="GET", path="/a", status=500),
        'shop_websocket_connections_in_progress{path="/chat"} 3',
        "process_resident_memory_bytes 1.5",
        "process_cpu_seconds_total 0.25",
    )
    two = snapshot(
        'http_request_duration_seconds_count{method="GET",path="/b",status="200"} 2',
        'http_request_duration_seconds_sum{method="GET",path="/b",status="200"} NaN',
        "http_requests_in_progress 4",
        'websocket_connections_in_progress{path="/chat"} 1',
    )
    unknown = {"p50": None, "p95": None, "p99": None}
    known = {"p50": 3.0, "p95": 3.9, "p99": 3.98}
    found = report({"x": one, "y": "refused", "z": two})
    assert found == {
        "version": 1,
        "requests": {"count": 5, "errors": 1, "seconds": None, **unknown},
        "exceptions": None,
        "in_progress": 4,
        "routes": [
            {"route": "/a", "count": 1, "errors": 1, "seconds": 10, **known},
            {"route": "/b", "count": 4, "errors": 0, "seconds": None, **unknown},
        ],
        "websockets": [{"route": "/chat", "open": 4, "closed": 0, "received": 0, "sent": 0}],
        "event_loop": [],
        "waits": [],
        "workers": [
            {
                "url": "x",
                "labels": {},
                "resident_memory_bytes": 1.5,
                "cpu_seconds": 0.25,
                "open_fds": None,
            }
        ],
        "urls": [
            {
                "url": "x",
                "up": True,
                "error": None,
                "prefix": "shop_",
                "group": "path",
                "requests": {
                    "count": 3,
                    "errors": 1,
                    "seconds": 30,
                    "p50": 1.75,
                    "p95": pytest.approx(3.7),
                    "p99": pytest.approx(3.94),
                },
            },
            {
                "url": "y",
                "up": False,
                "error": "refused",
                "prefix": None,
                "group": None,
                "requests": None,
            },
            {
                "url": "z",
                "up": True,
                "error": None,
                "prefix": "",
                "group": "path",
                "requests": {"count": 2, "errors": 0, "seconds": None, **unknown},
            },
        ],
    }
    assert report({"y": "refused"})["in_progress"] is None


# Parsing.


def test_openmetrics_is_parsed_where_the_content_type_says_so() -> None:
    text = "# TYPE jobs counter\njobs_total 2.0\n# EOF\n"
    found = parse(text, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert [sample.value for sample in found.samples["jobs_total"]] == [2.0]
    assert "jobs" in found.families
    with pytest.raises(ScrapeError, match="not an exposition of metrics: Missing # EOF"):
        parse("jobs_total 2.0\n", "application/openmetrics-text")
    assert "jobs_total" in parse("jobs_total 2.0\n", "text/plain").samples


def test_a_native_histogram_has_no_sample_here() -> None:
    text = (
        "# TYPE size histogram\n"
        "size {count:3,sum:6,schema:0,zero_threshold:1e-9,zero_count:0,"
        "positive_spans:[0:1],positive_deltas:[3]}\n# EOF\n"
    )
    try:
        found = parse(text, "application/openmetrics-text")
    except ScrapeError:  # prometheus_client before 0.22
        return
    assert found.samples == {}


@pytest.mark.parametrize("text", ["<html>\n", 'a{b="c} 1\n', "a b\n"])
def test_what_is_no_exposition_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ScrapeError, match="not an exposition of metrics"):
        parse(text)


@given(st.text(alphabet='a_{}"=, \n\\#19.eTYPHL', max_size=60), st.sampled_from(["", "x/y"]))
def test_no_text_makes_parsing_fail_otherwise(text: str, content_type: str) -> None:
    with suppress(ScrapeError):
        assert isinstance(parse(text, content_type), Exposition)


# Short texts.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"),
        (0, "0"),
        (3.0, "3"),
        (0.04, "0.04"),
        (0.456, "0.46"),
        (2.55, "2.5"),
        (99.94, "99.9"),
        (123.4, "123"),
        (9999, "9999"),
        (12_345, "12.3k"),
        (123_456, "123k"),
        (12_000_000, "12M"),
        (7.5e9, "7.5G"),
        (1e15, "1e+15"),
    ],
)
def test_numbers(value: float | None, expected: str) -> None:
    assert figures.number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "-"), (0, "0%"), (1, "100%"), (0.034, "3.4%"), (0.0004, "0.0%"), (0.999, "99.9%")],
)
def test_shares(value: float | None, expected: str) -> None:
    assert figures.share(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"),
        (0, "0 µs"),
        (0.00012, "120 µs"),
        (0.0025, "2.50 ms"),
        (0.01234, "12.3 ms"),
        (1, "1.00 s"),
        (75.25, "75.2 s"),
        (5000, "5000 s"),
        (36_000, "10 h"),
    ],
)
def test_durations(value: float | None, expected: str) -> None:
    assert figures.duration(value) == expected


def test_a_quantile_above_the_highest_bound_is_marked() -> None:
    assert figures.quantile(Tally(2, buckets=buckets(0, 0, 0, 2)), 0.5) == "≥4.00 s"
    assert figures.quantile(Tally(2, buckets=buckets(0, 2, 2, 2)), 0.5) == "1.50 s"
    assert figures.quantile(Tally(), 0.5) == "-"


def test_sizes() -> None:
    assert [figures.size(value) for value in (None, 52_428_800, 1.5 * 2**30)] == [
        "-",
        "50 MiB",
        "1.5 GiB",
    ]


def test_sparklines_go_from_zero_to_the_maximum_and_have_gaps() -> None:
    assert figures.sparkline([0, 1, 2, 3, 4, 5, 6, 7], 80) == "▁▂▃▄▅▆▇█"
    assert figures.sparkline([9, 1, None, 2], 3) == "▅ █"
    assert figures.sparkline([0, 0], 5) == "▁▁"
    assert figures.sparkline([math.nan, INF, -1, 1], 5) == "  ▁█"
    assert figures.sparkline([1, 2], 0) == ""
    assert figures.sparkline([], 5) == ""


@given(st.text())
def test_safe_text_has_nothing_that_a_terminal_obeys(text: str) -> None:
    assert all(unicodedata.category(c)[0] not in "C" for c in safe(text))
    assert safe("a \x1b[31m\n\u202e[bold] é") == r"a \x1b[31m\n\u202e[bold] é"
