"""State machines: each rule does something to an application and to the model of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from prometheus_client.parser import text_string_to_metric_families

from tests.support.asgi import Browser, Socket
from tests.support.hanging import GONE, SHOWS_EXCEPTIONS, ungrouped
from tests.support.legs import LEGS
from tests.support.recorded import Samples, labels, samples

from .clients import FlaskClient, Open, QuartClient, Sent
from .expectation import Model, Pending, modelled
from .scripts import CHUNK, Script, Setup, scripts, setups
from .shop import Shop

steps: Counter[str] = Counter()
"""How many operations were performed, by leg."""

NAMES = (
    "flask_http_request_total",
    "flask_http_request_duration_seconds_count",
    "flask_http_requests_in_progress",
    "views_total",
    "sold_total",
    "level",
    "busy",
    "nothing",
)

HANGS = ("before", "view", "after", "handler", "page", "teardown", "label", "stream")


class Machine(RuleBasedStateMachine):
    """The rules that both frameworks share."""

    leg_name: str
    client: Any
    is_under_way = False
    """Whether the first comparison, of nothing but the set-up, is over."""

    @initialize(setup=setups)
    def start(self, setup: Setup) -> None:
        self.leg = LEGS[self.leg_name]()
        self.shop = Shop(self.leg, setup)
        self.model = Model(self.leg, setup)
        self.setup = setup
        self.open: list[tuple[Any, Pending]] = []
        self.prepare()

    def prepare(self) -> None:
        """Make the client."""

    @invariant()
    def compare(self) -> None:
        """Every family is what it should be."""
        steps[self.leg_name] += self.is_under_way
        self.is_under_way = True
        wrong = _differences(modelled(samples(self.leg.registry)), self.model.samples())
        assert not wrong, wrong

    def teardown(self) -> None:
        if hasattr(self, "client"):
            self.client.close()

    @rule(how=st.sampled_from(["returns", "raises"]))
    def job(self, how: str) -> None:
        """Call a decorated function outside of requests."""
        with suppress(ZeroDivisionError):
            self.shop.job(how)
        self.model.job(how)

    @rule(kind=st.sampled_from(["a", "b", "kept"]), amount=st.integers(0, 3), bound=st.booleans())
    def sell(self, kind: str, amount: int, bound: bool) -> None:
        """Call a counter directly, or through the instrument of a label set."""
        if kind == "kept":
            self.shop.kept.inc(amount)
        elif bound:
            self.shop.sold.labels(kind=kind).inc(amount)
        else:
            self.shop.sold.inc(amount, kind=kind)
        self.model.sell(kind, amount)

    @rule(how=st.sampled_from(["set", "inc", "dec"]), amount=st.integers(-3, 3))
    def move(self, how: str, amount: int) -> None:
        """Set a gauge, or count it up or down."""
        getattr(self.shop.level, how)(amount)
        self.model.move(how, amount)

    @rule(amount=st.integers(-2, 2))
    def see(self, amount: int) -> None:
        """Observe an amount in a histogram."""
        self.shop.amounts.observe(amount)
        self.model.see("amounts", amount)

    @rule(seconds=st.sampled_from([0.5, 2.0]), raises=st.booleans())
    def wait(self, seconds: float, raises: bool) -> None:
        """Time a block, count it as in progress, and count the exception that leaves it."""
        blocks = (
            self.shop.kept.count_exceptions(KeyError),
            self.shop.waited.time(**{"in": "a block"}),
            self.shop.level.track_inprogress(),
        )
        with suppress(KeyError), blocks[0], blocks[1], blocks[2]:
            self.leg.clock.advance(seconds)
            if raises:
                raise KeyError
        self.model.sell("kept", float(raises))
        self.model.see("waited", seconds, **{"in": "a block"})

    @rule(how=st.sampled_from(["label", "down", "text"]))
    def misuse(self, how: str) -> None:
        """Call an instrument wrongly, which records nothing."""
        if how == "label":
            self.shop.sold.inc(king="a")
            self.model.misuse("sold", "kind")
        elif how == "down":
            self.shop.kept.inc(-1)
            self._wrong_amount()
        else:
            self.shop.level.set("high")
            self.model.misuse("level", "")

    def _wrong_amount(self) -> None:
        """A wrong amount still makes its label set."""
        self.model.sell("kept", 0.0)
        self.model.misuse("sold", "")

    @rule(names=st.lists(st.sampled_from(NAMES), max_size=3))
    def scrape(self, names: list[str]) -> None:
        self.model.scrape()
        found: Samples = {}
        text = self.client.scrape([("name[]", name) for name in names])
        for metric in text_string_to_metric_families(text):
            for sample in metric.samples:
                if not sample.name.endswith(("_bucket", "_created", "exporter_info")):
                    found.setdefault(sample.name, {})[labels(**sample.labels)] = sample.value
        expected = {
            name: family
            for name, family in self.model.samples().items()
            if not names or name in names
        }
        wrong = _differences(modelled(found), expected)
        assert not wrong, wrong

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end_one(self, data: st.DataObject) -> None:
        """Do something to a request or connection that has begun."""
        index = data.draw(st.integers(0, len(self.open) - 1), label="which")
        how = data.draw(st.sampled_from(self.endings), label="how")
        started, pending = self.open[index]
        note(str(pending))
        if self.go_on(started, pending, how):
            del self.open[index]

    endings: tuple[str, ...]

    def go_on(self, started: Any, pending: Pending, how: str) -> bool:
        """Do something to it, and tell whether it has ended."""
        raise NotImplementedError


class FlaskMachine(Machine):
    """Requests to Flask, whose bodies are read as far as the server likes."""

    endings = ("read", "close", "forget", "one")

    def prepare(self) -> None:
        self.client = FlaskClient(self.shop)

    @rule(script=scripts(), how=st.sampled_from(["read", "read", "close", "forget", "open"]))
    def request(self, script: Script, how: str) -> None:
        pending = self.model.begin(script)
        sent: Sent = self.client.send(script)
        self.model.answer(pending)
        assert (sent.left is not None) is pending.leaves
        assert pending.leaves or sent.status == pending.status
        if how == "open" and pending.streams:
            self.open.append((sent, pending))
        elif pending.streams:
            self.go_on(sent, pending, how)
        else:
            while sent.read():
                pass
            pending.size = sent.size
            self.model.end(pending)
            sent.close()

    def go_on(self, sent: Sent, pending: Pending, how: str) -> bool:
        if how in ("close", "forget"):
            sent.close() if how == "close" else sent.forget()
            self.model.end(pending)
            return True
        while self._read(sent, pending):
            if how == "one":
                return False
        sent.close()
        return True

    def _read(self, sent: Sent, pending: Pending) -> bool:
        """Read one part of a stream; tell whether it goes on."""
        if sent.read():
            self.model.chunk(pending)
            if not pending.is_complete:
                return True
        else:
            assert pending.chunks == pending.parts
            pending.failed = pending.failed or pending.breaks
            assert (sent.left is not None) is pending.breaks
        self.model.end(pending)
        return False


class QuartMachine(Machine):
    """Requests and websockets to Quart, which hang, and whose clients go away."""

    endings = ("release", "release", "vanish", "cancel")
    client: QuartClient

    def prepare(self) -> None:
        self.client = QuartClient(self.shop)
        self.sockets: list[tuple[Socket, dict[str, str], float]] = []

    @rule(script=scripts())
    def request(self, script: Script) -> None:
        pending = self.model.begin(script)
        browser = self.client.send(script)
        self.model.answer(pending)
        self._finish(browser, pending)

    @precondition(lambda self: not self.setup.sizes)
    @rule(
        script=scripts().filter(lambda script: not script.teardown),
        gone=st.sampled_from(["http.response.start", "http.response.body"]),
    )
    def request_of_a_client_that_is_gone(self, script: Script, gone: str) -> None:
        pending = self.model.begin(script)
        browser = self.client.send(script, gone)
        self.model.answer(pending)
        shows = SHOWS_EXCEPTIONS and self.model.testing and not pending.exits
        if shows or not pending.leaves:
            assert self._found_gone(browser) or (pending.breaks and pending.streams)
            if gone == "http.response.start":
                pending.status, pending.streams = 499, False
            self._stream(pending, min(pending.parts, 1))
            unsent = pending.streams and not pending.parts
            pending.failed = pending.failed or (unsent and pending.breaks)
        self.model.end(pending)

    @staticmethod
    def _found_gone(browser: Browser) -> bool:
        return browser.error is not None and isinstance(ungrouped(browser.error), GONE)

    @rule(script=scripts(HANGS))
    def begin(self, script: Script) -> None:
        pending = self.model.begin(script)
        opened = self.client.open(script)
        if not opened.hangs:
            self.model.answer(pending)
            self._finish(opened.browser, pending)
            return
        self.model.hang(pending)
        if script.hangs == "stream":
            self._stream(pending, pending.parts)
        self.open.append((opened, pending))

    def go_on(self, opened: Open, pending: Pending, how: str) -> bool:
        waited = self.leg.clock.now - pending.hung
        if how == "cancel" and pending.script.hangs == "label":
            how = "vanish"  # otherwise the labels were begun and are not finished
        pending.size = len(opened.browser.body)
        getattr(opened, how)()
        if how == "release":
            self.model.go_on(pending, waited)
            self._finish(opened.browser, pending)
        else:
            self.model.cut(pending, 500 if how == "cancel" else 499)
            self.model.end(pending)
        return True

    def _finish(self, browser: Browser, pending: Pending) -> None:
        """Compare the whole answer, and end."""
        if not pending.leaves:
            assert browser.status == pending.status
        if pending.streams and not (pending.script.hangs == "stream" and pending.hung):
            self._stream(pending, pending.parts)
        breaks = pending.streams and pending.breaks
        pending.failed = pending.failed or breaks
        assert pending.leaves or (browser.error is not None) is breaks
        pending.size = len(browser.body)
        self.model.end(pending)

    def _stream(self, pending: Pending, parts: int) -> None:
        """Note that this rule has sent some parts of the stream."""
        if pending.streams and parts:
            pending.read = self.leg.clock.now - CHUNK * parts
            pending.first = pending.read + CHUNK - pending.start

    # --- websockets -----------------------------------------------------------------------------

    @rule(path=st.sampled_from(["/talk/1", "/talk/2", "/rejected/1"]))
    def connect(self, path: str) -> None:
        start, group = self.leg.clock.now, self.model.connect(path)
        socket = self.client.connect(path)
        if path.startswith("/talk"):
            self.model.accept(group, 1.0)
            self.sockets.append((socket, group, start))
        else:
            self.model.disconnect(group, 403, start)
            self.model.leave("<exception>")

    @precondition(lambda self: self.sockets)
    @rule(data=st.data(), how=st.sampled_from(["hello", "close", "raise", "leave", "cancel"]))
    def talk(self, data: st.DataObject, how: str) -> None:
        index = data.draw(st.integers(0, len(self.sockets) - 1), label="which")
        socket, group, start = self.sockets[index]
        if how not in ("leave", "cancel"):
            self.model.message(group, "received")
        if how == "hello":
            self.model.message(group, "sent")
            self.client.tell(socket, how)
            return
        del self.sockets[index]
        if how == "leave":
            self.client.run(_leave(socket))
        elif how == "cancel":
            self.client.cut(socket)
        else:
            self.client.tell(socket, how)
        self.model.accept(group, -1.0)
        leaves = self.model.testing or self.setup.page == "raises"
        broken = 1011 if leaves else 1000  # an answer to an accepted connection just closes it
        code = {"close": 4000, "raise": broken, "leave": 1001, "cancel": 1011}[how]
        self.model.disconnect(group, code, start)
        self.model.leave("none" if how == "close" else "<exception>")


async def _leave(socket: Socket) -> None:
    socket.put("websocket.disconnect", code=1001)
    await asyncio.wait({socket.task})


def _differences(found: Samples, expected: Samples) -> list[Any]:
    """Return (name, labels, value found, value expected) of each sample that differs."""
    return [
        (name, dict(key), found.get(name, {}).get(key), expected.get(name, {}).get(key))
        for name in sorted({*found, *expected})
        for key in {*found.get(name, {}), *expected.get(name, {})}
        if found.get(name, {}).get(key) != expected.get(name, {}).get(key)
    ]
