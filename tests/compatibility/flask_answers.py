"""Flask extensions that change answers, or give them in the view's place."""

from __future__ import annotations

from typing import Any

import flask
import flask_caching
import flask_compress
import flask_cors
import flask_limiter
import flask_talisman
from flask import Flask, abort

from .flask_apis import Count, broken_stream, stream
from .programs import Extensions, Visit

EXTENSIONS = Extensions(Flask)


def add_views(app: Flask, count: Count) -> None:
    """Add views that answer, abort, raise and stream."""
    app.add_url_rule("/items/<int:number>", "item", count(lambda number: f"item {number} " * 99))
    app.add_url_rule("/abort", "abort", lambda: abort(403))
    app.add_url_rule("/broken", "broken", lambda: 1 // 0)
    app.add_url_rule("/stream", "stream", count(lambda: flask.Response(stream())))
    app.add_url_rule("/cut", "cut", lambda: flask.Response(broken_stream()))


def visits(**headers: str) -> list[Visit]:
    return [
        Visit("/items/1", headers=headers, counted=True),
        Visit("/abort", 403, headers=headers),
        Visit("/broken", 500, headers=headers, raises=True),
        Visit("/stream", headers=headers, counted=True),
        Visit("/cut", headers=headers, raises=True),
        Visit("/nowhere", 404, headers=headers),
        Visit("/items/1", 405, "POST", headers=headers),
    ]


@EXTENSIONS.add("Flask-Cors")
def cors(app: Flask, count: Count) -> list[Visit]:
    """Answers, `abort()`, exceptions, streams, and preflight requests for them"""
    flask_cors.CORS(app, origins="https://example.com", methods=["GET"])
    add_views(app, count)
    origin = {"Origin": "https://example.com"}
    asked = {**origin, "Access-Control-Request-Method": "GET"}
    return [
        *visits(**origin),
        Visit("/items/1", 200, "OPTIONS", headers=asked),
        Visit("/abort", 403),
    ]


GZIP_TIME = r"(?s)(?<=\x1f\x8b\x08\x00).{4}"


@EXTENSIONS.add("Flask-Compress", hides=GZIP_TIME)
def compress(app: Flask, count: Count) -> list[Visit]:
    """Compressed and plain answers, streams, streams that break, exceptions"""
    app.config["COMPRESS_MIMETYPES"] = ["text/html"]
    flask_compress.Compress(app)
    add_views(app, count)
    return [*visits(**{"Accept-Encoding": "gzip"}), *visits()]


@EXTENSIONS.add("flask-talisman")
def talisman(app: Flask, count: Count) -> list[Visit]:
    """Headers of security on all answers, redirects to https, a view of its own policy"""
    guard = flask_talisman.Talisman(app, force_https=False)
    add_views(app, count)

    @app.get("/secure")
    @guard(force_https=True, frame_options="DENY")
    def secure() -> str:
        return "secure"

    return [*visits(), Visit("/secure", 302), Visit("/nowhere", 404)]


@EXTENSIONS.add("Flask-Limiter", ignored_headers=frozenset({"retry-after", "x-ratelimit-reset"}))
def limiter(app: Flask, count: Count) -> list[Visit]:
    """Limits of all routes, of one route, exempt routes, its error handler"""
    limiter = flask_limiter.Limiter(
        lambda: "someone", app=app, default_limits=["8 per day"], headers_enabled=True
    )
    add_views(app, count)
    app.errorhandler(429)(lambda error: ("too many", 429))

    @app.get("/rare")
    @limiter.limit("1 per day")
    @count
    def rare() -> str:
        return "rare"

    app.add_url_rule("/exempt", "exempt", limiter.exempt(lambda: "exempt"))
    return [
        *visits(),
        Visit("/rare", counted=True),
        Visit("/rare", 429),
        *[Visit("/abort", 403)] * 7,
        Visit("/abort", 429),
        *[Visit("/exempt")] * 9,
    ]


@EXTENSIONS.add("Flask-Caching")
def caching(app: Flask, count: Count) -> list[Visit]:
    """Cached views, one of its own counter inside of the cache, memoized functions, exceptions"""
    app.config["CACHE_TYPE"] = "SimpleCache"
    cache = flask_caching.Cache(app)
    calls: list[int] = []

    @app.get("/cached")
    @cache.cached(timeout=600)
    @count
    def cached() -> str:
        calls.append(1)
        return str(len(calls))

    @app.get("/outside")
    @count
    @cache.cached(timeout=600, query_string=True)
    def outside() -> str:
        calls.append(1)
        return str(len(calls))

    @cache.memoize()
    def work(number: int) -> float:
        return 1 / number

    @app.get("/memoized/<int:number>")
    def memoized(number: int) -> Any:
        return str(work(number))

    return [
        Visit("/cached", counted=True),
        Visit("/cached"),
        *[Visit("/outside?x=1", counted=True)] * 3,
        Visit("/memoized/1"),
        Visit("/memoized/1"),
        Visit("/memoized/0", 500, raises=True),
    ]
