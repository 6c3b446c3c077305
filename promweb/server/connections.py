"""TCP connections, each with a thread: bounded in number, and in the time that clients take."""

from __future__ import annotations

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
"""Seconds that a client may take to be understood, handshake included, and again to be told."""
MOST_CLIENTS = 32
"""Connections at a time; one more cuts off the oldest that the server waits for."""
GRACE = 5.0
"""Seconds that closing waits for clients that have asked to have their answer."""
PAUSE = 0.1
"""Seconds to wait for what is short: a thread that ends, a free file descriptor."""


class Client:
    """A connection and its thread."""

    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread
        self.waiting_since = time.monotonic()
        """Since when the server waits for the client; infinity while the client waits."""
        self.has_asked = False
        """Whether its whole request is there."""

    def asked(self) -> None:
        """Have the client wait from now on."""
        self.waiting_since, self.has_asked = inf, True

    def answered(self) -> None:
        """Wait for the client from now on, to take the answer."""
        self.waiting_since = time.monotonic()


class ConnectionServer(TCPServer):
    """Accepts connections in one thread, which also cuts off those that take too long.

    To cut off is to shut the socket down: whatever its thread waits for there, then ends. The
    handler finds its client in `clients` and says when it has asked and was answered.
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
        self._lock = threading.Lock()  # a socket is not closed while it is being shut down
        super().__init__(address, handler)

    def get_request(self) -> Any:
        """Accept a connection."""
        try:
            return super().get_request()
        except OSError:  # most likely no file descriptor is free; the next try would come at once
            time.sleep(PAUSE)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, or close it where there is no room for one."""
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
        """Take a place, for which the oldest client that the server waits for may have to go."""
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
            self._end(request)

    def _end(self, request: Any) -> None:
        with self._lock:
            del self.clients[request]
        self.shutdown_request(request)
        self._room.release()

    def _cut(self, request: Any) -> None:
        with self._lock, suppress(OSError):
            if request in self.clients:
                # `SSLSocket.shutdown` would first have its thread go on without TLS.
                socket.socket.shutdown(request, socket.SHUT_RDWR)

    def service_actions(self) -> None:
        """Cut off clients that take too long: called twice a second, and for each connection."""
        latest = time.monotonic() - TIMEOUT
        for request, client in list(self.clients.items()):
            if client.waiting_since < latest:
                self._cut(request)

    def shutdown(self) -> None:
        """Accept no more; Linux wakes the thread that waits on a socket which is shut down."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        super().shutdown()

    def server_close(self) -> None:
        """Stop listening and end the threads, after a while for clients that have asked.

        A thread whose answer takes longer than that is left behind, without its connection.
        """
        super().server_close()
        clients = list(self.clients.items())
        for request, client in clients:
            if not client.has_asked:
                self._cut(request)
        deadline = time.monotonic() + GRACE
        for _, client in clients:
            client.thread.join(max(0.0, deadline - time.monotonic()))
        for request, client in clients:
            self._cut(request)
            client.thread.join(PAUSE)

    def leave_to_parent(self) -> None:
        """Close a forked child's copies of the sockets; its parent goes on with its own."""
        for inherited in (self.socket, *self.clients):
            inherited.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that vanish, stall or speak no TLS are no news."""
        logger.debug("A connection to the metrics server failed.", exc_info=True)
