"""Asynchronous tests with the pytest plugin of anyio."""

import pytest
from guestbook.quart_app import create_app

from promweb.testing import assert_metric_delta

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def client(metrics_registry):
    return create_app().test_client()


async def test_a_missing_language_is_an_error_of_the_label(client):
    async with (
        assert_metric_delta("entries_total", language="<error>"),
        assert_metric_delta("promweb_label_errors_total", metric="entries", label="language"),
    ):
        await client.post("/entries", form={"text": "hello"})


async def test_each_entry_counts(client):
    async with assert_metric_delta("entries_total", by=3):
        for language in ("en", "en", "de"):
            await client.post("/entries", form={"text": "hello", "language": language})
