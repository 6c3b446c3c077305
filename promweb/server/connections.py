"""TCP connections with a thread each; limits their number and the time that clients take."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import threading
import time
from contextlib import suppress
from math import inf
from socketserver import BaseRequestHandler, TCPServer
from typing import Any

__all__ = ["Client", "ConnectionServer"]

logger = logging.getLogger("promweb")

TIMEOUT = 30.0
"""Seconds in which a client must send its request, handshake included, or read the answer."""
MOST_CLIENTS = 32
"""The most connections at a time; one more cuts off the oldest client that must act."""
GRACE = 5.0
"""Seconds that `server_close` waits for answers to requests that have arrived."""
PAUSE = 0.1
"""Seconds to wait for short events: the end of a thread, a free descriptor."""


class Client:
    """A connection and its thread."""

    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread
        self.waiting_since = time.monotonic()
        """When the server began to wait for the client; infinity while the client waits."""
        self.is_owed_an_answer = False
        """Whether the request has arrived and the answer is not sent yet."""

    def asked(self) -> None:
        """Note that the request has arrived: from now on the client waits."""
        self.waiting_since, self.is_owed_an_answer = inf, True

    def answered(self) -> None:
        """Note that the answer is ready: from now on the server waits for the client."""
        self.waiting_since = time.monotonic()


class ConnectionServer(TCPServer):
    """Accepts connections in one thread, which also cuts off clients that take too long.

    It cuts a client off by shutting the socket down, which ends the read or write that the client's
    thread waits for. The handler finds its client in `clients` and calls `asked` and `answered`.
    """

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        family: socket.AddressFamily,
        address: Any,
        handler: type[BaseRequestHandler],
        context: ssl.SSLContext | None,
    ) -> None:
        self.address_family: int = family
        self.clients: dict[Any, Client] = {}  # the oldest first
        self._context = context
        self._room = threading.Semaphore(MOST_CLIENTS)
        self._lock = threading.RLock()  # keeps a socket open while it is being shut down
        self._is_bound = False
        super().__init__(address, handler, bind_and_activate=False)

    def listen(self) -> bool:
        """Bind the address; return False, to be called again later, if another socket has it."""
        try:
            if not self._is_bound:
                self.server_bind()
                self._is_bound = True
            self.server_activate()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True

    def get_request(self) -> Any:
        """Accept a connection."""
        try:
            return super().get_request()
        except OSError:  # most likely no descriptor is free; without a pause this would spin
            time.sleep(PAUSE)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, or close it if there are too many."""
        if self._context is not None:
            request = self._context.wrap_socket(
                request, server_side=True, do_handshake_on_connect=False
            )
        if not self._has_room():
            self.shutdown_request(request)
            return
        thread = threading.Thread(
            target=self._serve, args=(request, client_address), name="promweb-client", daemon=True
        )
        self.clients[request] = Client(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads, or the program ends
            self.handle_error(request, client_address)
            self._end(request)

    def _has_room(self) -> bool:
        """Count the connection; at the limit, cut off the oldest client that must act."""
        if self._room.acquire(blocking=False):
            return True
        for request, client in list(self.clients.items()):
            if client.waiting_since < inf:
                self._cut(request)
                break
        return self._room.acquire(timeout=PAUSE)

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            if self._context is not None:
                request.do_handshake()
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self._linger(request)
            self._end(request)

    def _linger(self, request: Any) -> None:
        """Tell the client that the answer is complete, and wait until it closes the connection.

        Closing a socket while the client is still sending would make the system discard what it
        has not delivered yet (RFC 9112, 9.6).
        """
        self.clients[request].is_owed_an_answer = False
        with suppress(OSError):  # also for TLS: its own methods would send and decrypt
            socket.socket.shutdown(request, socket.SHUT_WR)
            while socket.socket.recv(request, 65536):
                pass

    def _end(self, request: Any) -> None:
        with self._lock:
            del self.clients[request]
        self.shutdown_request(request)
        self._room.release()

    def _cut(self, request: Any) -> None:
        with self._lock, suppress(OSError):
            if request in self.clients:
                # `SSLSocket.shutdown` would first make its thread go on without TLS.
                socket.socket.shutdown(request, socket.SHUT_RDWR)

    def service_actions(self) -> None:
        """Cut off clients that take too long; runs twice a second, and for each connection."""
        latest = time.monotonic() - TIMEOUT
        for request, client in list(self.clients.items()):
            if client.waiting_since < latest:
                self._cut(request)

    def shutdown(self) -> None:
        """Stop accepting; on Linux, shutting the socket down wakes the thread that waits on it."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        super().shutdown()

    def server_close(self) -> None:
        """Stop listening and end the threads; running answers have `GRACE` to finish.

        A thread that takes longer loses its connection and ends by itself.
        """
        super().server_close()
        clients = list(self.clients.items())
        for request, client in clients:
            if not client.is_owed_an_answer:
                self._cut(request)
        deadline = time.monotonic() + GRACE
        for _, client in clients:
            client.thread.join(max(0.0, deadline - time.monotonic()))
        for request, client in clients:
            self._cut(request)
            client.thread.join(PAUSE)

    def leave_to_parent(self) -> None:
        """Close the sockets that a forked child inherited; the parent keeps its own."""
        for inherited in (self.socket, *self.clients):
            inherited.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log at debug level: clients that vanish, stall or speak no TLS are normal."""
        logger.debug("A connection to the metrics server failed.", exc_info=True)
