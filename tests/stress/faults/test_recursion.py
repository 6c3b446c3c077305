"""Requests and decorated functions near the recursion limit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder

from tests.support.legs import LEGS, Leg
from tests.support.recorded import labels, samples

FEWEST = 4
"""How many frames it takes to set the limit back. Since Python 3.12 ten serve a request."""

FRAMES = 20
"""How many frames more than the application itself a measured request may need."""


def possible_calls(done: int = 0) -> int:
    """Return how much deeper calls can be nested; the stack alone does not tell since 3.12."""
    try:
        return possible_calls(done + 1)
    except RecursionError:
        return done


@contextmanager
def frames_left(number: int) -> Iterator[None]:
    """Leave only this many frames."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit - possible_calls() + number)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def serve(app: Any, left: int) -> int:
    """Serve a request with this many frames left; return its status, or 0 if that failed."""
    environ = EnvironBuilder(path="/").get_environ()
    statuses = [0]
    try:
        with frames_left(left):
            body = app(
                environ, lambda status, headers, error=None: statuses.append(int(status[:3]))
            )
            b"".join(body)
    except RecursionError:
        return 0
    return statuses[-1]


def make_app(leg: Leg, decorate: Callable[[Any], Any] = lambda view: view) -> Any:
    app = leg.make_app()
    app.logger.disabled = True
    app.add_url_rule("/", "view", decorate(lambda: "ok"))
    serve(app, 500)
    return app


def first_success(statuses: list[int]) -> int:
    """Return from how many frames on a request is always answered."""
    return max(index for index, status in enumerate(statuses) if status != 200) + 1


def test_requests_near_the_recursion_limit() -> None:
    bare = [serve(make_app(LEGS["flask-sync"]()), left) for left in range(FEWEST, 120)]
    leg = LEGS["flask-sync"]()
    app = leg.make_app()
    app.logger.disabled = True
    metrics = leg.make_metrics(app, in_progress=True)
    decorate = metrics.gauge("busy", "Busy."), metrics.counter("views", "Views.")
    app.add_url_rule("/", "view", decorate[0](decorate[1](lambda: "ok")))
    assert serve(app, 500) == 200
    answered, measured = 1, []
    for left in range(FEWEST, 120):
        measured.append(serve(app, left))
        answered += measured[-1] == 200
        found = samples(leg.registry)
        assert found["flask_http_requests_in_progress"] == {labels(method="GET"): 0.0}
        assert found["busy"] == {labels(): 0.0}
        assert leg.value("flask_http_request_total", method="GET", status="200") == answered
    assert first_success(bare) <= first_success(measured) <= first_success(bare) + FRAMES


@pytest.mark.parametrize("kind", ["gauge", "counter", "histogram", "summary"])
def test_recursive_function_that_hits_the_limit(kind: str) -> None:
    leg = LEGS["flask-sync"]()
    metrics = leg.make_metrics(None)

    @getattr(metrics, kind)("calls", "Calls.")  # type: ignore[untyped-decorator]
    def dig(depth: int) -> int:
        nonlocal called
        called += 1
        return dig(depth + 1)  # type: ignore[no-any-return]

    called = 0
    for left in range(40, 140):
        with pytest.raises(RecursionError), frames_left(left):
            dig(0)
        found = samples(leg.registry)
        if kind == "gauge":
            assert found["calls"] == {labels(): 0.0}
    assert called > 500
    if kind != "gauge":
        name = "calls_total" if kind == "counter" else "calls_count"
        # The deepest call or two of each attempt have no frames left to be counted in.
        assert called - 4 * 100 <= samples(leg.registry)[name][labels()] <= called
