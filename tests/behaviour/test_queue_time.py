"""How long requests waited before the application was called, as the header of a proxy says."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promweb.core.insight.queue_time import HEADERS, read_stamp
from tests.support.legs import LEGS, Leg
from tests.support.samples import names, samples
from tests.support.views import plain

QUEUE = "flask_http_request_queue_seconds"
IGNORED = "promweb_queue_times_ignored_total"


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    """Have the clock on the wall stand still."""
    now = 1_800_000_000.5
    monkeypatch.setattr(time, "time", lambda: now)
    return now


def make_app(leg: Leg, **arguments: Any) -> Any:
    app = leg.make_app()
    leg.make_metrics(app, **{"queue_time": True, **arguments})
    app.add_url_rule("/tea", "tea", plain(leg))
    return app


def waits(leg: Leg, name: str = QUEUE) -> tuple[float | None, float | None]:
    """Return how many requests waited, and how long altogether."""
    return leg.value(f"{name}_count"), leg.value(f"{name}_sum")


@pytest.mark.parametrize("written", ["{}", "t={}", " t={} ", "{}, t=1"])
@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9], ids=["s", "ms", "µs", "ns"])
def test_units_and_spellings(leg: Leg, now: float, unit: int, written: str) -> None:
    app = make_app(leg)
    stamp = f"{now - 2.25:.3f}" if unit == 1 else str(int((now - 2.25) * unit))
    leg.get(app, "/tea", headers={"X-Request-Start": written.format(stamp)})
    assert waits(leg) == (1, pytest.approx(2.25))
    assert IGNORED not in names(leg.registry)


@pytest.mark.parametrize("header", HEADERS)
def test_relatives(leg: Leg, now: float, header: str) -> None:
    app = make_app(leg)
    leg.get(app, "/tea", headers={header: f"t={now - 0.5}"})
    assert waits(leg) == (1, pytest.approx(0.5))


def test_the_first_of_several_headers_counts(leg: Leg, now: float) -> None:
    app = make_app(leg)
    headers = {name: f"{now - after}" for after, name in enumerate(HEADERS)}
    leg.get(app, "/tea", headers=dict(reversed(headers.items())))
    assert waits(leg) == (1, 0)


def test_another_header(leg: Leg, now: float) -> None:
    app = make_app(leg, queue_time="X-Edge-Time")
    leg.get(app, "/tea", headers={"X-Request-Start": f"{now - 3}"})
    leg.get(app, "/tea", headers={"x-edge-time": f"{now - 1}"})
    assert waits(leg) == (1, 1)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("unreadable", "yesterday"),
        ("unreadable", "t="),
        ("unreadable", "-5"),
        ("old", "1e9"),
        ("unreadable", "inf"),
        ("unreadable", "nan"),
        ("unreadable", "\u00b3"),
        ("unreadable", "9" * 1000),
        ("old", "0"),
        ("old", "1799996399"),
        ("future", "1800000002"),
        ("future", "9999999999999999999"),
    ],
)
def test_what_is_no_time_of_waiting_is_counted(
    leg: Leg, now: float, reason: str, text: str
) -> None:
    app = make_app(leg)
    assert leg.get(app, "/tea", headers={"X-Request-Start": text}).status == 202
    assert waits(leg) == (0, 0)
    assert samples(leg.registry, IGNORED) == [({"reason": reason}, 1)]


def test_a_proxy_whose_clock_is_a_little_ahead(leg: Leg, now: float) -> None:
    app = make_app(leg)
    leg.get(app, "/tea", headers={"X-Request-Start": f"{now + 0.9}"})
    assert waits(leg) == (1, 0)


def test_waiting_ends_when_the_application_is_called(leg: Leg, now: float) -> None:
    app = make_app(leg)

    class Request(app.request_class):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            leg.clock.advance(2)  # between the call of the application and the dispatch
            super().__init__(*args, **kwargs)

    app.request_class = Request
    leg.get(app, "/tea", headers={"X-Request-Start": f"{now - 3}"})
    assert waits(leg) == (1, 1)


def test_requests_without_the_header_and_excluded_ones(leg: Leg, now: float) -> None:
    app = make_app(leg, excluded_paths="/health")
    metrics = leg.make_metrics(None)
    app.add_url_rule("/health", "health", plain(leg))
    app.add_url_rule("/quiet", "quiet", metrics.do_not_track()(plain(leg)))
    headers = {"X-Request-Start": f"{now - 1}"}
    for path in ("/health", "/quiet", "/metrics"):
        leg.get(app, path, headers=headers)
    leg.get(app, "/tea")
    assert waits(leg) == (0, 0)
    leg.get(app, "/nowhere", headers=headers)
    assert waits(leg) == (1, 1)


def test_default_labels(leg: Leg, now: float) -> None:
    app = make_app(
        leg,
        default_labels={
            "service": "shop",
            "kind": lambda: leg.web.request.args["kind"],
            "late": lambda response: "never asked",
        },
    )
    leg.get(app, "/tea?kind=black", headers={"X-Request-Start": f"{now - 1}"})
    assert samples(leg.registry, f"{QUEUE}_sum") == [({"service": "shop", "kind": "black"}, 1)]


def test_the_conventions_have_it_without_a_prefix(leg: Leg, now: float) -> None:
    app = make_app(leg, naming="otel")
    leg.get(app, "/tea", headers={"X-Request-Start": f"{now - 1}"})
    assert waits(leg, "http_request_queue_seconds") == (1, 1)


def test_two_objects_of_which_one_asks_for_it(leg: Leg, now: float) -> None:
    app = make_app(leg, queue_time=False)
    leg.make_metrics(app, path=None, queue_time=True)
    leg.get(app, "/tea", headers={"X-Request-Start": f"{now - 1}"})
    assert waits(leg) == (1, 1)


def test_a_blueprint_has_its_own_requests(leg: Leg, now: float) -> None:
    app, shop = leg.make_app(), leg.web.Blueprint("shop", "shop")
    shop.add_url_rule("/tea", "tea", plain(leg))
    leg.make_metrics(shop, queue_time=True)
    app.register_blueprint(shop)
    for path in ("/tea", "/nowhere"):
        leg.get(app, path, headers={"X-Request-Start": f"{now - 1}"})
    assert waits(leg) == (1, 1)


def test_there_is_nothing_unless_it_is_asked_for(leg: Leg, now: float) -> None:
    app = make_app(leg, queue_time=False)
    leg.get(app, "/tea", headers={"X-Request-Start": f"{now - 1}"})
    assert waits(leg) == (None, None)


def test_what_the_argument_may_be(leg: Leg) -> None:
    for right in (True, False, None, "X-Edge-Time"):
        found = leg.make_metrics(None, queue_time=right).queue_time
        assert found == (right if isinstance(right, str) else bool(right))
    with pytest.raises(TypeError, match="must be True, False, or the name of a header"):
        leg.make_metrics(None, queue_time=5)
    for wrong in ("", "X Start", "X-Start:", "Zeit-Ä"):
        with pytest.raises(ValueError, match="is not the name of a header; write for example"):
            leg.make_metrics(None, queue_time=wrong)


@given(st.text() | st.from_regex(r"(t=)?[0-9.]{0,25}", fullmatch=True))
def test_no_text_raises(text: str) -> None:
    stamp = read_stamp(text)
    assert stamp is None or 0 <= stamp < 1e12


def test_legs_are_alike_in_names() -> None:
    found = []
    for make in LEGS.values():
        leg = make()
        make_app(leg)
        found.append(names(leg.registry) & {f"{QUEUE}_count", f"{QUEUE}_sum", f"{QUEUE}_bucket"})
    assert all(len(each) == 3 for each in found)
