"""The other side of one ASGI scope: a client whose every message a test decides."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, TypeVar

import anyio

from .waiting import DEADLINE

Message = dict[str, Any]
Self = TypeVar("Self", bound="Peer")


class Mailbox:
    """An unbounded queue that works on asyncio and on trio."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._count = anyio.Semaphore(0)

    def put(self, message: Message) -> None:
        self._messages.append(message)
        self._count.release()

    async def get(self) -> Message:
        try:
            self._count.acquire_nowait()  # without giving way, as a server's queue does
        except anyio.WouldBlock:
            await self._count.acquire()
        return self._messages.popleft()


class Peer:
    """A client of one scope; `run` is what a server does with it."""

    def __init__(self, app: Any, kind: str, path: str, **scope: Any) -> None:
        headers = {"host": "localhost", **scope.pop("headers", {})}
        self.scope: Message = {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
            "extensions": {},
            **scope,
        }
        self.sent: list[Message] = []
        """The messages that the application sent."""
        self.gone = ""
        """The kind of message that finds the client gone: sending one raises `OSError`."""
        self.stalled = ""
        """The kind of message that the client does not take: sending one takes for ever."""
        self.lingers = False
        """Whether the client stays when the response is complete, or the websocket closed."""
        self.error: BaseException | None = None
        self._app = app
        self._inbox, self._outbox = Mailbox(), Mailbox()
        self._over = anyio.Event()

    def start(self: Self) -> Self:
        """Run the application for this client, in an asyncio task of its own."""
        self.task = asyncio.create_task(self.run())
        return self

    async def cancel(self) -> None:
        """Cancel that task, as a server does when it shuts down."""
        self.task.cancel()
        await asyncio.wait([self.task], timeout=DEADLINE)

    async def run(self) -> None:
        """Run the application for this scope."""
        try:
            await self._app(self.scope, self._inbox.get, self._send)
        except Exception as error:
            self.error = error
        finally:
            self._over.set()

    async def _send(self, message: Message) -> None:
        if message["type"] == self.gone:
            self._disconnect()
            raise OSError("the client is gone")
        if message["type"] == self.stalled:
            await anyio.sleep_forever()
        self.sent.append(message)
        self._outbox.put(message)
        if not self.lingers and self._is_last(message):
            self._disconnect()  # as servers do

    @staticmethod
    def _is_last(message: Message) -> bool:
        if message["type"].endswith("response.body"):
            return not message.get("more_body")
        return message["type"] == "websocket.close"

    def _disconnect(self) -> None:
        self.put(f"{self.scope['type']}.disconnect")

    def put(self, kind: str, **message: Any) -> None:
        """Send a message to the application."""
        self._inbox.put({"type": kind, **message})

    async def next(self, kind: str) -> Message:
        """Wait for the next message of the application, which is of this kind."""
        message = await self.answer()
        assert message["type"] == kind
        return message

    async def answer(self) -> Message:
        """Wait for the next message of the application, of any kind."""
        with anyio.fail_after(DEADLINE):
            return await self._outbox.get()

    async def over(self) -> None:
        """Wait until the application is done with this scope; raise what it raised."""
        with anyio.fail_after(DEADLINE):
            await self._over.wait()
        if self.error is not None:
            raise self.error


class Browser(Peer):
    """A client of an HTTP request; with `body=None` the test sends the body by hand."""

    def __init__(
        self,
        app: Any,
        path: str = "/",
        method: str = "GET",
        body: bytes | None = b"",
        **scope: Any,
    ) -> None:
        scope = {"method": method, "scheme": "http", **scope}
        super().__init__(app, "http", path, **scope)
        if body is not None:
            self.put("http.request", body=body, more_body=False)

    @property
    def status(self) -> int | None:
        starts = [m["status"] for m in self.sent if m["type"] == "http.response.start"]
        return starts[0] if starts else None

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.sent if m["type"] == "http.response.body")

    async def chunk(self) -> bytes:
        """Wait for the next part of the body."""
        body: bytes = (await self.next("http.response.body"))["body"]
        return body

    async def vanish(self) -> None:
        """Go away, and wait for the application to notice."""
        self.put("http.disconnect")
        await self.over()


class Socket(Peer):
    """A client of a websocket."""

    def __init__(self, app: Any, path: str = "/", **scope: Any) -> None:
        super().__init__(app, "websocket", path, **{"scheme": "ws", "subprotocols": [], **scope})
        self.put("websocket.connect")

    def say(self, text: str) -> None:
        """Send a message."""
        self.put("websocket.receive", text=text)

    async def accepted(self) -> None:
        await self.next("websocket.accept")

    async def heard(self) -> str:
        """Wait for the next message."""
        text: str = (await self.next("websocket.send"))["text"]
        return text

    async def close(self, **code: int) -> None:
        """Close with a code, or none, and wait for the application to notice."""
        self.put("websocket.disconnect", **code)
        await self.over()
