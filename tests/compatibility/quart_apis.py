"""Quart extensions for APIs, users, limits and tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import quart
import quart_auth
import quart_cors
import quart_db
import quart_rate_limiter
import quart_schema
import quart_tasks
import trio
from quart import Quart
from quart_trio import QuartTrio

from .flask_apis import Count
from .flask_users import COOKIE
from .programs import HEAR, Extensions, Visit

EXTENSIONS = Extensions(Quart)


class Refused(Exception):
    """An exception with an error handler."""


def add_views(app: Quart, count: Count) -> None:
    """Add views that answer, abort, raise and stream, and a websocket that echoes."""

    @app.get("/items/<int:number>")
    @count
    async def item(number: int) -> str:
        return f"item {number} " * 99

    @app.get("/abort")
    async def abort() -> None:
        quart.abort(403)

    @app.errorhandler(Refused)
    async def refused(error: Refused) -> tuple[str, int]:
        return "refused", 409

    @app.get("/refused")
    @count
    async def refuse() -> str:
        raise Refused

    @app.get("/broken")
    async def broken() -> str:
        raise ValueError

    async def chunks(is_cut: bool) -> AsyncIterator[str]:
        yield "one half"
        if is_cut:
            raise ValueError
        yield "the other"

    @app.get("/stream")
    @count
    async def stream() -> Any:
        return chunks(is_cut=False), {"Content-Type": "text/plain"}

    @app.get("/cut")
    async def cut() -> Any:
        return chunks(is_cut=True)

    @app.websocket("/echo")
    async def echo() -> None:
        while True:
            await quart.websocket.send(await quart.websocket.receive())


def visits(**headers: str) -> list[Visit]:
    return [
        Visit("/items/1", headers=headers, counted=True),
        Visit("/abort", 403, headers=headers),
        Visit("/refused", 409, headers=headers, counted=True),
        Visit("/broken", 500, headers=headers, raises=True),
        Visit("/stream", headers=headers, counted=True),
        Visit("/cut", headers=headers, raises=True),
        Visit("/nowhere", 404, headers=headers),
        Visit("/items/1", 405, "POST", headers=headers),
        Visit("/echo", headers=headers, talk=["hello", HEAR, "again", HEAR]),
    ]


@dataclass
class Item:
    number: int


@EXTENSIONS.add("quart-schema")
def schema(app: Quart, count: Count) -> list[Visit]:
    """Validated requests, responses and websockets, `openapi.json`, other views"""
    quart_schema.QuartSchema(app)
    add_views(app, count)

    @app.post("/items")
    @count
    @quart_schema.validate_request(Item)
    @quart_schema.validate_response(Item, 201)
    async def add(data: Item) -> Any:
        return (data, 201) if data.number else ({"number": "none"}, 201)

    @app.websocket("/items")
    async def items() -> None:
        await quart.websocket.send_as(await quart.websocket.receive_as(Item), Item)  # type: ignore[attr-defined]

    return [
        Visit("/items", 201, "POST", json={"number": 1}, counted=True),
        Visit("/items", 400, "POST", json={"number": "x"}, counted=True),
        Visit("/items", 500, "POST", json={"number": 0}, raises=True, counted=True),
        Visit("/openapi.json"),
        Visit("/docs"),
        *visits(),
    ]


@EXTENSIONS.add(
    "quart-rate-limiter",
    ignored_headers=frozenset({"retry-after", "ratelimit-reset"}),
    hides=r"(?<=RateLimit-Reset: )\d+",
)
def rate_limiter(app: Quart, count: Count) -> list[Visit]:
    """Limits of all routes, of one route, exempt routes, an error handler"""
    quart_rate_limiter.RateLimiter(
        app, default_limits=[quart_rate_limiter.RateLimit(3, timedelta(days=1))]
    )
    add_views(app, count)

    @app.errorhandler(quart_rate_limiter.RateLimitExceeded)
    async def exceeded(error: Any) -> tuple[str, int]:
        return "too many", 429

    @app.get("/rare")
    @quart_rate_limiter.rate_limit(1, timedelta(days=1))
    @count
    async def rare() -> str:
        return "rare"

    @app.get("/exempt")
    @quart_rate_limiter.rate_exempt
    async def exempt() -> str:
        return "exempt"

    return [
        *visits(),
        Visit("/rare", counted=True),
        Visit("/rare", 429),
        *[Visit("/abort", 403)] * 2,
        Visit("/abort", 429),
        *[Visit("/exempt")] * 5,
    ]


@EXTENSIONS.add("quart-auth", hides=COOKIE + r"|(?<=QUART_AUTH=)[^;]*")
def auth(app: Quart, count: Count) -> list[Visit]:
    """Logins, `login_required` on views and a websocket, basic authentication, other views"""
    app.config |= {"QUART_AUTH_BASIC_USERNAME": "me", "QUART_AUTH_BASIC_PASSWORD": "right"}
    app.config["QUART_AUTH_COOKIE_SECURE"] = False
    quart_auth.QuartAuth(app)
    add_views(app, count)

    @app.post("/login")
    @count
    async def login() -> str:
        quart_auth.login_user(quart_auth.AuthUser("someone"))
        return "welcome"

    @app.get("/account")
    @quart_auth.login_required
    @count
    async def account() -> str:
        return str(quart_auth.current_user.auth_id)

    @app.get("/basic")
    @quart_auth.basic_auth_required()
    async def basic() -> str:
        return "basic"

    @app.post("/logout")
    async def logout() -> str:
        quart_auth.logout_user()
        return "bye"

    @app.websocket("/private")
    @quart_auth.login_required
    async def private() -> None:
        await quart.websocket.send(str(quart_auth.current_user.auth_id))
        await quart.websocket.receive()

    return [
        Visit("/account", 401),
        Visit("/login", 200, "POST", counted=True),
        Visit("/account", counted=True),
        Visit("/private", talk=[HEAR]),
        Visit("/basic", 401),
        Visit("/basic", headers={"Authorization": "Basic bWU6cmlnaHQ="}),
        *visits(),
        Visit("/logout", 200, "POST"),
        Visit("/account", 401),
    ]


@EXTENSIONS.add("quart-cors")
def cors(app: Quart, count: Count) -> list[Visit]:
    """Answers, `abort()`, exceptions, streams, websockets, preflight requests, no origin"""
    quart_cors.cors(app, allow_origin="https://example.com", allow_methods=["GET"])
    add_views(app, count)

    @app.websocket("/own")
    @quart_cors.websocket_cors(allow_origin="https://example.com")
    async def own() -> None:
        await quart.websocket.send("hello")
        await quart.websocket.receive()

    origin = {"Origin": "https://example.com"}
    asked = {**origin, "Access-Control-Request-Method": "GET"}
    return [
        *visits(**origin),
        *(visit for visit in visits() if not visit.talk),
        Visit("/items/1", 200, "OPTIONS", headers=asked),
        Visit("/own", headers=origin, talk=[HEAR]),
    ]


@EXTENSIONS.add("quart-db")
def database(app: Quart, count: Count) -> list[Visit]:
    """Rows that are added and read, a connection for each request, statements that fail"""
    directory = TemporaryDirectory()
    app.extensions["directory"] = directory  # is gone when the application is
    url = f"sqlite:///{Path(directory.name) / 'items.db'}"
    quart_db.QuartDB(app, url=url, migrations_folder=None)
    add_views(app, count)

    @app.post("/rows/<int:number>")
    @count
    async def add(number: int) -> str:
        await quart.g.connection.execute("CREATE TABLE IF NOT EXISTS items (id INTEGER UNIQUE)")
        await quart.g.connection.execute("INSERT INTO items VALUES (:id)", {"id": number})
        return "added"

    @app.get("/rows")
    @count
    async def rows() -> str:
        return str(await quart.g.connection.fetch_val("SELECT COUNT(*) FROM items"))

    return [
        Visit("/rows/1", 200, "POST", counted=True),
        Visit("/rows/1", 500, "POST", raises=True, counted=True),
        Visit("/rows", counted=True),
        *visits(),
    ]


@EXTENSIONS.add("quart-tasks")
def tasks(app: Quart, count: Count) -> list[Visit]:
    """Tasks that answer and raise, run beside requests and by one; other views"""
    runner = quart_tasks.QuartTasks(app)
    done: list[int] = []

    @runner.periodic(timedelta(days=1))
    async def work() -> None:
        done.append(1)

    @runner.periodic(timedelta(days=1))
    async def fail() -> None:
        raise ValueError

    @app.get("/run/<name>")
    @count
    async def run(name: str) -> str:
        await asyncio.create_task(runner.test_run(name))
        return str(len(done))

    add_views(app, count)
    return [
        Visit("/run/work", counted=True),
        Visit("/run/fail", 500, raises=True, counted=True),
        *visits(),
    ]


@EXTENSIONS.add("quart-trio", app_class=QuartTrio)
def on_trio(app: QuartTrio, count: Count) -> list[Visit]:
    """Answers, `abort()`, exceptions alone and in groups, streams, websockets"""
    add_views(app, count)

    @app.get("/group")
    @count
    async def group() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_refuse)
        return "never"

    return [*visits(), Visit("/group", 409, counted=True)]


async def _refuse() -> None:
    raise Refused
