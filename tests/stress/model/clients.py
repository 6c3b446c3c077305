"""How requests are sent to the applications of both frameworks, and left half-way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

from werkzeug.test import EnvironBuilder

from tests.support.asgi import Browser, Peer, Socket
from tests.support.hanging import cancel_the_rest, ungrouped
from tests.support.waiting import DEADLINE

from .scripts import Script
from .shop import Hang, Quit, Shop


class FlaskClient:
    """A WSGI server that the test drives: it reads bodies as far as it likes."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def send(self, script: Script) -> Sent:
        number = self._shop.say(script)
        builder = EnvironBuilder(
            path=script.path,
            method=script.method,
            data=b"x" * script.sent or None,
            headers={"X-Script": str(number)},
        )
        return Sent(self._shop.app, builder.get_environ())

    def scrape(self, query: list[tuple[str, str]]) -> str:
        builder = EnvironBuilder(path="/metrics", query_string=urlencode(query))
        return b"".join(self._shop.app(builder.get_environ(), lambda *start: None)).decode()

    def close(self) -> None:
        """Leave."""


class Sent:
    """A request that a Flask application has answered, and the body it is still to send."""

    def __init__(self, app: Callable[..., Any], environ: dict[str, Any]) -> None:
        self.status = 0
        self.left: BaseException | None = None
        self._body: Any = ()
        self.size = 0

        def start_response(status: str, *rest: Any) -> Any:
            self.status = int(status[:3])

        try:
            self._body = app(environ, start_response)
        except (Exception, Quit) as error:
            self.left = error
        self._parts: Iterator[bytes] = iter(self._body)

    def read(self) -> bool:
        """Read one part; tell whether there was one."""
        try:
            part = next(self._parts)
        except StopIteration:
            return False
        except ZeroDivisionError as error:
            self.left = error
            return False
        self.size += len(part)
        return True

    def close(self) -> None:
        """Close the body, as servers do."""
        if hasattr(self._body, "close"):
            self._body.close()
        self.forget()

    def forget(self) -> None:
        """Drop the body unclosed, as some test clients do."""
        self._body = ()
        self._parts = iter(())


class QuartClient:
    """An ASGI server that the test drives."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.loop = asyncio.new_event_loop()
        self._tasks: dict[Socket, set[Any]] = {}

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        self.run(cancel_the_rest())
        self.run(self.loop.shutdown_asyncgens())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()

    def send(self, script: Script, gone: str = "") -> Browser:
        """Send a request and wait for its end."""
        return self.run(self._send(script, gone))  # type: ignore[no-any-return]

    async def _send(self, script: Script, gone: str) -> Browser:
        browser = self._browser(script, self._shop.say(script))
        browser.gone = gone
        await _serve(browser)
        return browser

    def open(self, script: Script) -> Open:
        """Send a request and wait until it hangs, or is over."""
        return self.run(self._open(script))  # type: ignore[no-any-return]

    async def _open(self, script: Script) -> Open:
        number = self._shop.say(script)
        hang = self._shop.hangs[number] = Hang()
        before = asyncio.all_tasks()
        browser = self._browser(script, number)
        browser.task = asyncio.create_task(_serve(browser))
        waiting = asyncio.create_task(hang.reached.wait())
        await asyncio.wait({browser.task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return Open(self, browser, hang, asyncio.all_tasks() - before - {waiting})

    def scrape(self, query: list[tuple[str, str]]) -> str:
        return self.run(self._scrape(urlencode(query).encode())).decode()  # type: ignore[no-any-return]

    async def _scrape(self, query: bytes) -> bytes:
        browser = Browser(self._shop.app, "/metrics", query_string=query)
        await browser.run()
        return browser.body

    def connect(self, path: str) -> Socket:
        """Open a websocket, and wait until it is accepted or rejected."""
        return self.run(self._connect(path))  # type: ignore[no-any-return]

    async def _connect(self, path: str) -> Socket:
        before = asyncio.all_tasks()
        socket = Socket(self._shop.app, path).start()
        await socket.answer()
        socket.lingers = True
        self._tasks[socket] = asyncio.all_tasks() - before
        return socket

    def cut(self, socket: Socket) -> None:
        """Shut the server down; Quart leaves its handler to itself, which goes with the loop."""
        self.run(_cancel(socket, self._tasks[socket]))

    def tell(self, socket: Socket, text: str) -> None:
        """Send a message, and wait for the answer of any kind or the end."""
        self.run(self._tell(socket, text))

    async def _tell(self, socket: Socket, text: str) -> None:
        socket.say(text)
        answer = asyncio.create_task(socket.answer())
        await asyncio.wait({answer, socket.task}, return_when=asyncio.FIRST_COMPLETED)
        answer.cancel()
        if socket.sent[-1]["type"] == "websocket.close":  # the handler may still await labels
            await asyncio.wait(self._tasks[socket], return_when=asyncio.FIRST_COMPLETED)
            socket.put("websocket.disconnect")
            await asyncio.wait({socket.task}, timeout=DEADLINE)

    def _browser(self, script: Script, number: int) -> Browser:
        headers = {"x-script": str(number), "content-length": str(script.sent)}
        body = b"x" * script.sent
        return Browser(self._shop.app, script.path, script.method, body, headers=headers)


async def _serve(browser: Browser) -> None:
    try:
        await browser.run()
    except BaseException as error:
        if not isinstance(ungrouped(error), Quit):
            raise
        browser.error = error


class Open:
    """A request to a Quart application that hangs."""

    def __init__(self, client: QuartClient, browser: Browser, hang: Hang, tasks: set[Any]) -> None:
        self._client, self.browser, self._hang, self._tasks = client, browser, hang, tasks

    @property
    def hangs(self) -> bool:
        return not self.browser.task.done()

    def release(self) -> None:
        """Let the request go on to its end."""
        self._client.run(self._end(self._hang.released.set))

    def vanish(self) -> None:
        """Let the client go away."""
        self._client.run(self._end(lambda: self.browser.put("http.disconnect")))

    def cancel(self) -> None:
        """Shut the server down; Quart leaves its handler to itself, which goes with the loop."""
        self._client.run(_cancel(self.browser, self._tasks))

    async def _end(self, how: Callable[[], None]) -> None:
        how()
        await asyncio.wait({self.browser.task}, timeout=DEADLINE)


async def _cancel(peer: Peer, tasks: set[Any]) -> None:
    await peer.cancel()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
