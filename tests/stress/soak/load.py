"""Clients, and the books they keep: the fate of each request, as far as a client can know.

An *answered* request got a status line and was ended by the server. A *left* one was broken off by
the client. An *unanswered* one got nothing at all: nothing listened, or the server closed.
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

from .service import NUMBER

__all__ = ["Books", "Load"]

TIMEOUT = 30.0
PAUSE = 0.004
"""Seconds between two requests of a client: servers should be busy, but have no queue."""


@dataclass
class Books:
    """The fates of the requests to one service."""

    answered: Counter[str] = field(default_factory=Counter)
    """By method and status."""
    left: dict[int, str] = field(default_factory=dict)
    """By number: method, and the status that the service should count if it got the request."""
    unanswered: set[int] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)
    """The time of each ordinary request."""

    @property
    def sent(self) -> int:
        return sum(self.answered.values()) + len(self.left) + len(self.unanswered)


class Load:
    """Clients in threads that send to a measured and to a bare service in turns.

    `ports` says where they are now; `left_status` is the status of a request whose client left
    before there was a response.
    """

    def __init__(self, clients: int, ports: Callable[[str], int], left_status: int) -> None:
        self.books = {"measured": Books(), "bare": Books()}
        self._ports = ports
        self._left_status = left_status
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._clients = clients

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send while the block runs; raise what a client raised."""
        with ThreadPoolExecutor(self._clients) as threads:
            working = [threads.submit(self._work, seed) for seed in range(self._clients)]
            try:
                yield
            finally:
                self._over.set()
            for client in working:
                client.result()

    def _work(self, seed: int) -> None:
        dice = random.Random(seed)
        actions = (self._ordinary, self._other, self._leave_stream, self._leave_early)
        while not self._over.wait(PAUSE):
            [action] = dice.choices(actions, (70, 20, 6, 4))
            for name in dice.sample(("measured", "bare"), 2):
                action(name, dice)

    def _ordinary(self, name: str, dice: random.Random) -> None:
        start = time.perf_counter()
        if self._answer(name, "GET", f"/items/{dice.randrange(1000)}")[0] == 200:
            self.books[name].seconds.append(time.perf_counter() - start)

    def _other(self, name: str, dice: random.Random) -> None:
        method, path = dice.choice(
            (
                ("GET", "/fail"),
                ("GET", "/stream"),
                ("GET", "/stream-fails"),
                ("GET", f"/nowhere/{dice.randrange(10**6)}"),
                ("PUT", "/items/1"),
                ("HEAD", "/items/1"),
                ("POST", "/upload"),
            )
        )
        self._answer(name, method, path, b"x" * 20_000 if method == "POST" else None)

    def _leave_stream(self, name: str, dice: random.Random) -> None:
        """Break off an endless stream after its first bytes."""
        number = next(self._numbers)
        connection = self._connect(name)
        with self._noting_silence(name, number), closing(connection):
            self._send(connection, number, "GET", "/endless", reset=True)
            with connection.getresponse() as response:
                response.read(10)
                self._note_left(name, number, "GET 206")

    def _leave_early(self, name: str, dice: random.Random) -> None:
        """Break off a request that has reached its view and has no response yet."""
        number = next(self._numbers)
        connection = self._connect(name)
        with self._noting_silence(name, number), closing(connection):
            self._send(connection, number, "GET", f"/hold/{number}", reset=True)
            while self._answer(name, "GET", f"/reached/{number}")[1] == b"no":
                time.sleep(PAUSE)  # if there is no answer, the service stops
            self._note_left(name, number, f"GET {self._left_status}")

    @contextmanager
    def _noting_silence(self, name: str, number: int) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException):
            with self._lock:
                self.books[name].unanswered.add(number)

    def _answer(
        self, name: str, method: str, path: str, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Send a request and read the whole response; (0, b"") if there was none."""
        number = next(self._numbers)
        status, data = 0, b""
        connection = self._connect(name)
        with self._noting_silence(name, number), closing(connection):
            self._send(connection, number, method, path, body)
            response = connection.getresponse()
            status = response.status
            with self._lock:
                self.books[name].answered[f"{method} {status}"] += 1
            with suppress(OSError, http.client.HTTPException):  # a stream that failed
                data = response.read()
        return status, data

    def _connect(self, name: str) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._ports(name), timeout=TIMEOUT)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        number: int,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        reset: bool = False,
    ) -> None:
        """Send a request; with `reset` closing the connection will be without a farewell."""
        connection.connect()
        if reset:
            linger = struct.pack("ii", 1, 0)
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.request(method, path, body, {NUMBER: str(number), "Connection": "close"})

    def _note_left(self, name: str, number: int, counted: str) -> None:
        with self._lock:
            self.books[name].left[number] = counted
