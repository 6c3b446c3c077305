"""The names of the default metrics and their labels in each naming, for readers of scrapes."""

from __future__ import annotations

from typing import NamedTuple

from ..insight.loop import BLOCK, SECONDS
from ..requests.methods import OTHER
from .group_by import UNMATCHED

__all__ = ["OTEL", "PROMWEB", "VOCABULARIES", "Vocabulary"]


class Vocabulary(NamedTuple):
    """Names of families and of their labels; `None` where a naming has none.

    The names of promweb's naming follow `defaults_prefix`, and only its `start` is empty.
    """

    start: str
    """The beginning of the names of all families."""
    duration: str
    in_progress: str
    requests: str | None
    """The counter of requests, which has no group."""
    exceptions: str | None
    request_size: str
    response_size: str
    response_start: str | None
    info: str | None
    """A family that every instance has from its start."""
    method: str
    status: str
    group: str | None
    """The label of the route; `None` if `group_by` chooses it."""
    error: str | None
    """The label with the class of an unhandled exception, or with a status."""
    unmatched: str
    """The meaning of an empty group."""
    loop_block: str
    """The longest step of requests in the event loop."""
    loop_seconds: str
    """All their steps."""
    other: str
    """The method of every method that HTTP does not define."""


PROMWEB = Vocabulary(
    start="",
    duration="http_request_duration_seconds",
    in_progress="http_requests_in_progress",
    requests="http_request_total",
    exceptions="http_request_exceptions_total",
    request_size="http_request_size_bytes",
    response_size="http_response_size_bytes",
    response_start="http_response_start_seconds",
    info="exporter_info",
    method="method",
    status="status",
    group=None,
    error=None,
    unmatched="",
    loop_block=BLOCK,
    loop_seconds=SECONDS,
    other=OTHER,
)

OTEL = Vocabulary(
    start="http_server_",
    duration="http_server_request_duration_seconds",
    in_progress="http_server_active_requests",
    requests=None,
    exceptions=None,
    request_size="http_server_request_body_size_bytes",
    response_size="http_server_response_body_size_bytes",
    response_start=None,
    info=None,
    method="http_request_method",
    status="http_response_status_code",
    group="http_route",
    error="error_type",
    unmatched=UNMATCHED,
    loop_block=BLOCK,
    loop_seconds=SECONDS,
    other="_OTHER",
)

VOCABULARIES = (PROMWEB, OTEL)
"""All namings; tools show the first one that a scrape has."""
