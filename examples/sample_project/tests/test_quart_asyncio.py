"""Asynchronous tests with pytest-asyncio."""

import pytest
from guestbook.quart_app import create_app

from promweb.testing import assert_metric_delta

pytestmark = pytest.mark.asyncio


@pytest.fixture
def client(metrics_registry):
    return create_app().test_client()


@pytest.mark.parametrize("language", ["en", "de"])
async def test_an_entry_counts(client, language):
    async with assert_metric_delta("entries_total", language=language):
        await client.post("/entries", form={"text": "hello", "language": language})


async def test_reading_is_timed_to_the_end_of_the_stream(client):
    async with assert_metric_delta("reading_seconds_count"):
        response = await client.get("/entries")
        await response.get_data()
