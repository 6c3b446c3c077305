"""The legs that one test body runs on: Flask and Quart, each with sync and with async views."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flask
import quart
from prometheus_client import CollectorRegistry


class Clock:
    """A clock that a test moves by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Reply:
    """The answer that a client got."""

    status: int
    data: bytes
    headers: Any

    @property
    def text(self) -> str:
        return self.data.decode()


@dataclass
class Leg:
    """A framework and a kind of view; each test gets its own registry and clock."""

    name: str
    web: Any
    """The framework's module: `leg.web.request`, `leg.web.abort`, `leg.web.Blueprint`, ..."""
    async_views: bool
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    clock: Clock = field(default_factory=Clock)

    def make_app(self, *, testing: bool = False, **kwargs: Any) -> Any:
        """Return an application; with `testing` unhandled exceptions propagate."""
        app = self.app_class("shop", **kwargs)
        app.testing = testing
        return app

    def make_metrics(self, app: Any, **kwargs: Any) -> Any:
        """Return this leg's metrics object on the test's registry and clock.

        It groups by path, and says so, because the log would mention the default.
        """
        cls = type("Metrics", (self.metrics_class,), {"clock": staticmethod(self.clock)})
        return cls(app, **{"registry": self.registry, "group_by": "path", **kwargs})

    def view(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a view with this leg's kind from a plain function."""
        if not self.async_views:
            return function

        async def view(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        view.__name__ = function.__name__
        return view

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample's value, or None if it does not exist."""
        return self.registry.get_sample_value(name, labels)

    def label_sets(self, name: str) -> list[dict[str, str]]:
        """Return the label sets of the samples of a name, in the order of exposition."""
        return [
            sample.labels
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == name
        ]

    @property
    def app_class(self) -> Any:
        raise NotImplementedError

    @property
    def metrics_class(self) -> Any:
        raise NotImplementedError

    def request(self, app: Any, path: str, method: str = "GET", **kwargs: Any) -> Reply:
        """Send a request through the framework's test client and read the whole reply."""
        raise NotImplementedError

    def get(self, app: Any, path: str, **kwargs: Any) -> Reply:
        return self.request(app, path, **kwargs)


class FlaskLeg(Leg):
    @property
    def app_class(self) -> Any:
        return flask.Flask

    @property
    def metrics_class(self) -> Any:
        from promweb import PrometheusMetrics

        return PrometheusMetrics

    def request(self, app: Any, path: str, method: str = "GET", **kwargs: Any) -> Reply:
        with app.test_client().open(path, method=method, **kwargs) as response:
            return Reply(response.status_code, response.get_data(), response.headers)


class QuartLeg(Leg):
    @property
    def app_class(self) -> Any:
        return self.web.Quart

    @property
    def metrics_class(self) -> Any:
        from promweb import AsyncPrometheusMetrics

        return AsyncPrometheusMetrics

    def request(self, app: Any, path: str, method: str = "GET", **kwargs: Any) -> Reply:
        async def send() -> Reply:
            response = await app.test_client().open(path, method=method, **kwargs)
            return Reply(response.status_code, await response.get_data(), response.headers)

        return asyncio.run(send())


class TrioLeg(QuartLeg):
    """Quart on trio; its applications are not for `request`, which runs asyncio."""

    @property
    def app_class(self) -> Any:
        from quart_trio import QuartTrio

        return QuartTrio


LEGS: dict[str, Callable[[], Leg]] = {
    "flask-sync": lambda: FlaskLeg("flask-sync", flask, async_views=False),
    "flask-async": lambda: FlaskLeg("flask-async", flask, async_views=True),
    "quart-sync": lambda: QuartLeg("quart-sync", quart, async_views=False),
    "quart-async": lambda: QuartLeg("quart-async", quart, async_views=True),
}
