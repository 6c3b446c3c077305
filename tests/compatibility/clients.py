"""Clients that send the visits of a program, in order, and keep cookies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from typing import Any

import anyio
import flask
from quart_trio import QuartTrio
from websockets.sync.client import connect
from werkzeug.serving import make_server
from werkzeug.test import Client, EnvironBuilder

from tests.support.asgi import Browser, Socket
from tests.support.waiting import DEADLINE

from .programs import HEAR, Answer, Extension, Visit

__all__ = ["send"]


def send(extension: Extension, app: Any, visits: Sequence[Visit]) -> list[Answer]:
    """Return the answers of an application."""
    if extension.is_served:
        return _send_to_server(app, visits)
    if isinstance(app, flask.Flask):
        return _send_to_flask(app, visits)
    backend = "trio" if isinstance(app, QuartTrio) else "asyncio"
    return anyio.run(_send_to_quart, app, visits, backend=backend)


def _request(visit: Visit, answers: Sequence[Answer]) -> EnvironBuilder:
    headers = visit.headers(answers) if callable(visit.headers) else visit.headers
    return EnvironBuilder(
        visit.path, method=visit.method, headers=dict(headers), json=visit.json, data=visit.form
    )


def _body(request: EnvironBuilder) -> bytes:
    with request.get_environ()["wsgi.input"] as stream:
        body: bytes = stream.read()
        return body


def _text(chunks: Iterable[bytes]) -> str:
    """Return a body, and the name of the exception that cut it."""
    parts = []
    try:
        for chunk in chunks:
            parts.append(chunk)
    except Exception as error:
        parts.append(type(error).__name__.encode())
    return b"".join(parts).decode("latin-1")


def _send_to_flask(app: Any, visits: Sequence[Visit]) -> list[Answer]:
    client, answers = Client(app), list[Answer]()
    for visit in visits:
        response = client.open(_request(visit, answers), buffered=False)
        body = _text(response.response)
        response.close()
        answers.append(Answer(response.status_code, tuple(response.headers), body))
    return answers


async def _send_to_quart(app: Any, visits: Sequence[Visit]) -> list[Answer]:
    cookies: SimpleCookie = SimpleCookie()
    answers: list[Answer] = []
    async with app.test_app():
        for visit in visits:
            answer = await _ask(app, visit, answers, cookies)
            for name, value in answer.headers:
                if name == "set-cookie":
                    cookies.load(value)
            answers.append(answer)
    return answers


async def _ask(app: Any, visit: Visit, answers: Sequence[Answer], cookies: SimpleCookie) -> Answer:
    request = _request(visit, answers)
    headers = {name.lower(): value for name, value in request.headers.items()}
    body = _body(request)
    if request.content_type:
        headers["content-type"] = request.content_type
    if body:
        headers["content-length"] = str(len(body))
    if cookies:
        headers["cookie"] = "; ".join(f"{name}={value.value}" for name, value in cookies.items())
    scope: dict[str, Any] = {
        "headers": headers,
        "query_string": request.query_string.encode(),
    }
    if visit.talk:
        headers |= {"connection": "upgrade", "upgrade": "websocket"}
        return await _talk(Socket(app, request.path, **scope), visit)
    browser = Browser(app, request.path, visit.method, body, **scope)
    await browser.run()
    starts = [message for message in browser.sent if message["type"] == "http.response.start"]
    if not starts:
        return Answer(0, (), type(browser.error).__name__)
    found = [(name.decode(), value.decode()) for name, value in starts[0]["headers"]]
    cut = "" if browser.error is None else type(browser.error).__name__
    text = browser.body.decode("latin-1") + cut
    return Answer(starts[0]["status"], tuple(found), text)


async def _talk(socket: Socket, visit: Visit) -> Answer:
    """Say something on a websocket; the body is what was heard."""
    heard = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(socket.run)
        first = await socket.answer()
        if first["type"] == "websocket.accept":
            for text in visit.talk:
                if text == HEAR:
                    heard.append(await socket.heard())
                else:
                    socket.say(text)
            await socket.close(code=1000)
    return Answer(visit.status, (), f"{first['type']} {heard}")


def _send_to_server(app: Any, visits: Sequence[Visit]) -> list[Answer]:
    """Send the visits over a socket; when this returns, the server is done with them."""
    server: Any = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = False  # `server_close` waits for the threads of requests
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    answers: list[Answer] = []
    try:
        for visit in visits:
            ask: Callable[..., Answer] = _talk_to_server if visit.talk else _ask_server
            answers.append(ask(server.port, visit, answers))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    return answers


def _ask_server(port: int, visit: Visit, answers: Sequence[Answer]) -> Answer:
    request = _request(visit, answers)
    headers = dict(request.headers)
    if request.content_type:
        headers["Content-Type"] = request.content_type
    connection = HTTPConnection("127.0.0.1", port)
    connection.request(visit.method, visit.path, _body(request), headers)
    response = connection.getresponse()
    body = _text([response.read()])
    connection.close()
    return Answer(response.status, tuple(response.getheaders()), body)


def _talk_to_server(port: int, visit: Visit, answers: Sequence[Answer]) -> Answer:
    heard = []
    with connect(f"ws://127.0.0.1:{port}{visit.path}", proxy=None) as socket:
        for text in visit.talk:
            if text == HEAR:
                heard.append(socket.recv(DEADLINE))
            else:
                socket.send(text)
    return Answer(visit.status, (), str(heard))
