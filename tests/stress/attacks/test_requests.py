"""Fifteen thousand hostile requests; `make attack` sends millions."""

from __future__ import annotations

import asyncio
import logging

import pytest

from .arsenal import Arsenal, Shot
from .ledger import compare
from .strict import read
from .targets import Answer, Target, flask_target, quart_target, send_asgi, send_wsgi

OPENMETRICS = b"application/openmetrics-text; version=1.0.0"
MAX_SERIES = 200


def scrape_shot(accept: bytes) -> Shot:
    return Shot("GET", b"/metrics", b"", (("accept", accept), ("host", b"localhost")))


def check(target: Target, text: Answer, openmetrics: Answer) -> None:
    """Compare both formats with the books, and with each other."""
    samples = read(text.body, openmetrics=False)
    compare(samples, target.books, MAX_SERIES)
    assert read(openmetrics.body, openmetrics=True) == samples


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.mark.parametrize("seed", range(2))
def test_hostile_requests_forge_nothing_and_are_counted_on_flask(seed: int) -> None:
    target = flask_target(details=True, max_series=MAX_SERIES, in_progress=True)
    arsenal = Arsenal(seed)
    for _ in range(2):
        for _ in range(2500):
            shot = arsenal.shot()
            target.books.answered(shot, send_wsgi(target.app, shot).status)
        check(
            target,
            send_wsgi(target.app, scrape_shot(b"text/plain")),
            send_wsgi(target.app, scrape_shot(OPENMETRICS)),
        )


@pytest.mark.parametrize("seed", range(2))
def test_hostile_requests_forge_nothing_and_are_counted_on_quart(seed: int) -> None:
    target = quart_target(details=True, max_series=MAX_SERIES, in_progress=True)
    arsenal = Arsenal(seed)

    async def attack() -> None:
        for _ in range(2):
            for _ in range(1250):
                shot = arsenal.shot()
                target.books.answered(shot, (await send_asgi(target.app, shot)).status)
            check(
                target,
                await send_asgi(target.app, scrape_shot(b"text/plain")),
                await send_asgi(target.app, scrape_shot(OPENMETRICS)),
            )

    asyncio.run(attack())
