"""Shared by the tests of Quart: requests and collectors that hang, labels of every kind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import quart
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily

from .asgi import Browser
from .legs import Leg
from .recorded import in_progress
from .views import VIEW
from .waiting import DEADLINE

QUART = tuple(map(int, version("quart").split(".")[:2]))

WAITS_FOR_DISCONNECT = QUART >= (0, 23)
"""Whether Quart goes on until the client leaves, and raises what it then finds, in a group."""

SHOWS_EXCEPTIONS = QUART >= (0, 21)
"""Whether Quart in tests answers with the exception that leaves the application."""

Gone: Any = getattr(quart.wrappers, "ClientDisconnectedError", None)
RAISES_GONE = pytest.mark.skipif(Gone is None, reason="Quart before 0.23 has no such exception")
"""Marks tests of the exception by which Quart tells that the client is gone."""

GONE: tuple[type[Exception], ...] = (OSError, Gone or OSError)
"""Leaves Quart when it sends to a client that is gone: the server's error, since 0.23 its own."""

LEAVES = pytest.mark.skipif(
    QUART < (0, 21),
    reason="Quart before 0.21 lets no exception out of a websocket",
)
"""Marks tests of exceptions that leave a websocket's handler for the server."""


@contextmanager
def leaves(error: type[Exception]) -> Iterator[None]:
    """Assert that this exception leaves the application."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        yield
    assert isinstance(ungrouped(caught.value), error)


def ungrouped(error: BaseException) -> BaseException:
    """Return the exception that is alone in the groups which Quart 0.23 makes."""
    while hasattr(error, "exceptions"):
        (error,) = error.exceptions
    return error


async def until_nothing_is_in_progress(leg: Leg) -> None:
    with anyio.fail_after(DEADLINE):
        while in_progress(leg):
            await anyio.lowlevel.checkpoint()


class Hang:
    """A place where a request stays for good, after `VIEW` seconds."""

    def __init__(self, leg: Leg) -> None:
        self._leg = leg
        self.reached = anyio.Event()

    async def stay(self, *args: object, **kwargs: object) -> None:
        self._leg.clock.advance(VIEW)
        self.reached.set()
        await anyio.sleep_forever()

    async def wait(self) -> None:
        """Wait until a request is there."""
        with anyio.fail_after(DEADLINE):
            await self.reached.wait()


async def get(app: Any, path: str = "/", **scope: Any) -> Browser:
    """Send a request and wait for its end."""
    browser = Browser(app, path, **scope).start()
    await browser.over()
    return browser


async def cancel_the_rest() -> None:
    """Cancel what Quart leaves running when a server cancels it.

    Quart 0.23 may wait for its client after that, and is cancelled again.
    """
    rest = waiting = asyncio.all_tasks() - {asyncio.current_task()}
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=1)
    await asyncio.gather(*rest, return_exceptions=True)


async def late_status(response: Any) -> int:
    await anyio.lowlevel.checkpoint()
    status: int = response.status_code
    return status


async def late_path() -> str:
    await anyio.lowlevel.checkpoint()
    return quart.request.path


LABELS: dict[str, object] = {
    "constant": "c",
    "path": lambda: quart.request.path,
    "status": lambda response: response.status_code,
    "late_path": late_path,
    "late_status": late_status,
}


def all_labels(status: int, path: str = "/") -> dict[str, str]:
    """Return what `LABELS` should become."""
    return {
        "constant": "c",
        "path": path,
        "status": str(status),
        "late_path": path,
        "late_status": str(status),
    }


class SlowCollector:
    """A collector that blocks its thread until the test lets it go on."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = 0
        self.threads: list[int] = []
        self.release = threading.Event()
        self.reached = threading.Event()
        registry.register(self)  # type: ignore[arg-type]

    def describe(self) -> list[Any]:
        return [GaugeMetricFamily("slow", "Slow.")]

    def collect(self) -> Iterator[Any]:
        self.calls += 1
        self.threads.append(threading.get_ident())
        self.reached.set()
        assert self.release.wait(DEADLINE)
        yield GaugeMetricFamily("slow", "Slow.", value=self.calls)

    async def wait(self) -> None:
        """Wait until a scrape collects."""
        assert await anyio.to_thread.run_sync(self.reached.wait, DEADLINE)
