"""The least that instrumentation can do: what a missed goal is held against.

Nothing here is safe: no failure, no cancellation, no stream is seen, nothing is bounded, locked or
written for others to read. What stays is what nobody can leave out in Python: functions around
the application and around its dispatch, an object and a context variable that connect the two,
two looks at the clock, and a number that is put down under a key.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from time import perf_counter, time
from typing import Any

import flask
import quart

__all__ = ["FlaskFloor", "quart_floor"]

_BATCH = 100


class _Numbers:
    """What a histogram needs for a label set: observations, buckets and the time of the first."""

    __slots__ = ("buckets", "created", "pending")

    def __init__(self) -> None:
        self.pending, self.buckets, self.created = array("d"), [0] * 15, time()


class _Observed(dict[tuple[Any, ...], _Numbers]):
    def add(self, key: tuple[Any, ...], amount: float) -> None:
        numbers = self.get(key)
        if numbers is None:
            numbers = self[key] = _Numbers()
        pending = numbers.pending
        pending.append(amount)
        if len(pending) == _BATCH:
            del pending[:]


class _Seen:
    """A request; class attributes are what most requests keep."""

    measured: Any = ()
    request: Any = None
    status = 0

    start: float


class FlaskFloor:
    """The least for Flask; `options` is for all opt-in families, too."""

    def __init__(self, app: flask.Flask, *, options: bool = False) -> None:
        self._current: ContextVar[Any] = ContextVar("floor")
        self._attach(app, options)

    def measure(self, labels: Mapping[str, Callable[..., object]], names: list[str]) -> Any:
        """Return a decorator that observes a view's time with labels of the final response.

        `names` are those of the labels that take the response.
        """
        observed, current = _Observed(), self._current
        functions = [(function, name in names) for name, function in labels.items()]

        def decorator(view: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(view)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                start = perf_counter()
                try:
                    return view(*args, **kwargs)
                finally:
                    measured = (functions, observed, perf_counter() - start)
                    seen = current.get()
                    seen.measured = (*seen.measured, measured)

            return wrapper

        return decorator

    def _attach(self, app: flask.Flask, options: bool) -> None:
        current, observed = self._current, _Observed()
        occupied, request_sizes, sizes, starts = _Observed(), _Observed(), _Observed(), _Observed()
        answer, dispatch = app.wsgi_app, app.full_dispatch_request
        get_request = flask.request._get_current_object  # type: ignore[attr-defined]

        def wsgi_app(environ: Any, start_response: Any) -> Any:
            seen = _Seen()
            seen.start = perf_counter()
            token = current.set(seen)
            try:
                body = answer(environ, start_response)
            finally:
                current.reset(token)
            request = seen.request
            seconds = perf_counter() - seen.start
            key = (request.method, request.path, seen.status)
            observed.add(key, seconds)
            if options:
                occupied.add((request.method,), -1)
                request_sizes.add(key, int(environ.get("CONTENT_LENGTH") or 0))
                sizes.add(key, sum(map(len, body)))
                starts.add(key, seconds)
            return body

        def full_dispatch_request(*args: Any) -> Any:
            seen = current.get()
            seen.request = request = get_request()
            if options:
                occupied.add((request.method,), 1)
            response = dispatch(*args)
            seen.status = response.status_code
            for functions, observations, seconds in seen.measured:
                values = [str(label(response) if one else label()) for label, one in functions]
                observations.add(tuple(values), seconds)
            return response

        app.wsgi_app = wsgi_app  # type: ignore[method-assign]
        app.full_dispatch_request = full_dispatch_request  # type: ignore[method-assign]


def quart_floor(app: quart.Quart) -> None:
    """Do the least for Quart."""
    current: ContextVar[Any] = ContextVar("floor", default=None)
    answer, dispatch = app.asgi_app, app.full_dispatch_request
    get_request = quart.request._get_current_object  # type: ignore[attr-defined]
    observed = _Observed()

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        seen = _Seen()
        seen.start = perf_counter()

        def send_and_see(message: Any) -> Any:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                request = seen.request
                key = (request.method, request.path, seen.status)
                observed.add(key, perf_counter() - seen.start)
            return send(message)

        current.set(seen)
        try:
            await answer(scope, receive, send_and_see)
        finally:
            del seen.request  # it keeps `send`
            current.set(None)

    async def full_dispatch_request(*args: Any) -> Any:
        seen = current.get()
        seen.request = get_request()
        response = await dispatch(*args)
        seen.status = response.status_code
        return response

    app.asgi_app = asgi_app  # type: ignore[method-assign]
    app.full_dispatch_request = full_dispatch_request  # type: ignore[method-assign]
