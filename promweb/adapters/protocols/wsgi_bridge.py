"""Answers a WSGI request with an ASGI application, in an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http.client import responses
from typing import Any

__all__ = ["answer"]


def answer(app: Callable[..., Any], environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer a WSGI request; the application sees an empty body and a client that stays."""
    status, headers, body = 500, [], b""

    async def main() -> None:
        is_sent = asyncio.Event()
        requests: list[dict[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, Any]:
            if requests:
                return requests.pop()
            await is_sent.wait()
            return {"type": "http.disconnect"}  # Quart 0.23 waits for it

        async def send(message: dict[str, Any]) -> None:
            nonlocal status, headers, body
            if message["type"] == "http.response.start":
                status, headers = message["status"], message["headers"]
                return
            body += message["body"]
            if not message["more_body"]:
                is_sent.set()

        await app(_scope(environ), receive, send)

    asyncio.run(main())
    start_response(
        f"{status} {responses.get(status, '')}",
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers],
    )
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def _scope(environ: dict[str, Any]) -> dict[str, Any]:
    path = "/" + environ["PATH_INFO"].lstrip("/")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": environ["SERVER_PROTOCOL"].removeprefix("HTTP/"),
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "path": path.encode("latin-1").decode(errors="replace"),
        "query_string": environ["QUERY_STRING"].encode("latin-1"),
        "root_path": "",
        "headers": [
            (key[5:].replace("_", "-").lower().encode("latin-1"), value.encode("latin-1"))
            for key, value in environ.items()
            if key.startswith("HTTP_")
        ],
        "client": (environ["REMOTE_ADDR"], 0),
        "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"])),
    }
