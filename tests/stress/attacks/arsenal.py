"""Hostile requests and header values, made from a seed."""

from __future__ import annotations

import random
from typing import NamedTuple
from urllib.parse import quote_from_bytes

__all__ = ["HUGE", "Arsenal", "Shot"]

HUGE = 1 << 20
"""Bytes of the largest values."""

METHODS = ("GET", "GET", "GET", "POST", "HEAD", "OPTIONS", "PUT", "TRACE", "BREW", "get", "G\tET")

FORGERIES = (
    b'x"} 1\nforged_total{a="b"} 666\n',
    b"\n# EOF\n",
    b"# HELP forged x\n# TYPE forged counter\nforged_total 666\n",
    b'\\"} 1\nforged 1\n',
    b'\\\\"} 1\nforged 1\n',
    b' # {trace_id="forged"} 1 1\n',
    b"\\",
    b'"',
    b"\\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"\v\f\x1c\x1d\x1e",
    b"\xc2\x85\xe2\x80\xa8\xe2\x80\xa9",  # what str.splitlines takes for line ends
    b"\xed\xa0\x80",  # half a surrogate pair
    b"\xff\xfe\xfa",
    "\N{SNOWMAN}\N{PILE OF POO}".encode(),
    b"<overflow>",
    b"<unmatched>",
    b"<error>",
    b"{}[]$(),;=#",
    b"%00%0a%22",
)

ACCEPTS = (
    b"text/plain",
    b"application/openmetrics-text",
    b"version=1.0.0",
    b"version=",
    b"version=1.0.0.0.0.0",
    b"version=\xff",
    b"version=" + b"9" * 5000,
    b"escaping=allow-utf-8",
    b"escaping=dots\r\nX-Forged: 1",
    b"charset=utf-8",
    b"q=0.5",
    b"q=",
    b";",
    b",",
    b"=",
    b"*/*",
    b"gzip",
    b"identity;q=0",
)


class Shot(NamedTuple):
    """One request, in the bytes that a server has decoded percent-escapes to."""

    method: str
    path: bytes
    query: bytes
    headers: tuple[tuple[str, bytes], ...]


class Arsenal:
    """Hostile requests. The same seed gives the same ones."""

    def __init__(self, seed: int, *, huge_every: int = 3000) -> None:
        self._dice = random.Random(seed)
        self._huge_every = huge_every
        self._huge = [self._dice.randbytes(HUGE), b'"\n\\' * (HUGE // 3), b"/" * HUGE]

    def shot(self) -> Shot:
        """Return one request; most reach a view that has labels."""
        dice = self._dice
        roll = dice.random()
        if roll < 0.6:
            path = b"/items/" + self.value()
        elif roll < 0.7:
            path = dice.choice((b"/fail", b"/stream", b"/items/1"))
        else:
            path = b"/" + self.value()
        query = b"who=" + quote_from_bytes(self.value(), safe="").encode()
        if roll < 0.1:
            # Servers let no bytes through that are not ASCII; Quart could not match a route then.
            query += b"&" + quote_from_bytes(self.value(), safe="%&=+;[]{}\"'<>").encode()
        headers = (("x-client", self.value()), ("host", self.host()))
        return Shot(dice.choice(METHODS), path, query, headers)

    def value(self) -> bytes:
        """Return any bytes, some chosen to hurt."""
        dice = self._dice
        roll = dice.random()
        if roll < 0.3:
            return b"user%d" % dice.randrange(50)
        if roll < 0.5:
            return dice.randbytes(dice.randrange(1, 40))
        if roll < 0.85:
            return dice.choice(FORGERIES) + b"%d" % dice.randrange(1000)
        if dice.randrange(self._huge_every) == 0:
            return dice.choice(self._huge)
        letter = dice.choice((b"y", "\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode()))
        return b"x%d" % dice.randrange(10**9) + letter * dice.randrange(300)

    def host(self) -> bytes:
        """Return a host, seldom a valid one."""
        return self.value() if self._dice.random() < 0.3 else b"localhost"

    def accept(self) -> bytes:
        """Return a header value of negotiation, malformed more often than not."""
        dice = self._dice
        pieces = [dice.choice(ACCEPTS) for _ in range(dice.randrange(8))]
        return dice.choice((b";", b",", b" ")).join(pieces) * dice.choice((1, 1, 1, 500))
