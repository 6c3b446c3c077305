"""The thread that looks what blocks an event loop: places, reports, forks."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from collections import deque
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import anyio.to_thread
import pytest

from promweb.adapters.insight import watchdog as module
from promweb.adapters.insight.lanes import LoopLane
from promweb.adapters.insight.watchdog import UNSEEN, Report, Watchdog
from promweb.core.insight.places import Place, is_waiting, place_of
from promweb.core.requests.steps import Block
from tests.support.needs import posix
from tests.support.paths import ROOT
from tests.support.running import python
from tests.support.waiting import DEADLINE, eventually

FILE = os.path.relpath(__file__, ROOT)


class Loop:
    """A lane that a test blocks by hand; its thread is the test's."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.log_from = 0.1
        self.blocks: deque[Block] = deque()
        self.is_over = False
        self.scope: Any = None
        self.began = self.ended = 0.0
        self.beat = SimpleNamespace(due=perf_counter() + 1000)

    outside_since = LoopLane.outside_since

    def block(self, scope: Any = None, seconds: float = 0.5) -> float:
        """Be blocked by a request for so long, or by something else."""
        began = perf_counter() - seconds
        if scope is None:
            self.beat.due = began
        else:
            self.began, self.scope = began, scope
        return began

    def end(self, began: float, seconds: float, scope: Any = None) -> None:
        self.scope = None
        self.beat.due = perf_counter() + 1000
        self.blocks.append(Block(began, seconds, scope))


def a_scope(rule: str | None = "/tea", *, dispatched: bool = True) -> Any:
    url_rule = None if rule is None else SimpleNamespace(rule=rule)
    request = SimpleNamespace(url_rule=url_rule) if dispatched else None
    app = SimpleNamespace(root_path=str(ROOT / "tests"))
    return SimpleNamespace(request=request, site=SimpleNamespace(app=app))


@pytest.fixture
def reports() -> list[Report]:
    return []


@pytest.fixture
def dog(reports: list[Report]) -> Watchdog:
    return Watchdog(reports.append)


@pytest.mark.parametrize("scope", [a_scope(), None], ids=["request", "outside"])
def test_a_block_is_seen_and_reported_when_it_is_over(
    dog: Watchdog, reports: list[Report], scope: Any
) -> None:
    loop: Any = Loop()
    began = loop.block(scope)
    dog._look(loop)
    line = sys._getframe().f_lineno - 1
    dog._look(loop)  # the same one
    dog._tell(loop)
    assert reports == []
    loop.end(began, 0.7, scope)
    dog._look(loop)
    dog._tell(loop)
    (report,) = reports
    assert (report.seconds, report.scope, report.is_over) == (0.7, scope, True)
    assert report.place.line == f"{FILE}:{line}"
    assert report.place.innermost.startswith("_look at promweb/adapters/insight/watchdog.py:")


def test_short_steps_and_idle_loops_are_not_looked_at(dog: Watchdog, reports: list[Report]) -> None:
    loop: Any = Loop()
    dog._look(loop)
    loop.block(a_scope(), seconds=0.01)
    dog._look(loop)
    dog._tell(loop)
    assert (reports, dog._seen) == ([], {})


def test_the_next_look_is_when_what_runs_now_would_be_a_block(dog: Watchdog) -> None:
    loop: Any = Loop()
    assert dog._look(loop) == loop.log_from  # idle
    loop.block(seconds=0.01)
    assert dog._look(loop) <= 0.09  # its beat is late
    loop.block(a_scope(), seconds=0.05)
    assert 0 < dog._look(loop) <= 0.05
    loop.block(a_scope())
    assert dog._look(loop) == loop.log_from  # that is a block already


def test_a_block_that_was_not_seen_has_no_place(dog: Watchdog, reports: list[Report]) -> None:
    loop: Any = Loop()
    scope = a_scope()
    loop.end(1.0, 0.2, scope)
    loop.end(2.0, 0.2, None)  # the beat was late for the same reason
    dog._tell(loop)
    assert reports == [Report(0.2, UNSEEN, scope)]
    told = Watchdog(reports.append, tells_unseen=True)
    loop.end(2.0, 0.3, None)
    told._tell(loop)
    assert reports[1:] == [Report(0.3, UNSEEN, None)]


def test_a_block_keeps_its_place_though_the_next_one_goes_on_already(
    dog: Watchdog, reports: list[Report]
) -> None:
    loop: Any = Loop()
    first = a_scope("/first")
    began = loop.block(first)
    dog._visit(loop)
    loop.end(began, 0.4, first)
    loop.block(a_scope("/second"), seconds=0.2)
    dog._visit(loop)
    (report,) = reports
    assert report.scope is first
    assert report.place.line.startswith(f"{FILE}:")


def test_what_steps_kept_from_coming_is_not_blamed_on_anything_else(
    dog: Watchdog, reports: list[Report]
) -> None:
    loop: Any = Loop()
    loop.block(seconds=0.5)
    loop.ended = perf_counter()  # the beat is late, and a request's block is over just now
    assert dog._look(loop) <= loop.log_from
    assert dog._seen == {}
    loop.ended, loop.began = 0.0, perf_counter()  # many short steps were in between
    dog._look(loop)
    assert dog._seen == {}

    async def late() -> list[Block]:
        lane = LoopLane(0.1, interval=1000)
        lane.ended = 100.0
        lane._late(99.5, 0.55)  # 0.05 s after the block
        lane.began = 200.0
        lane._late(199.5, 0.55)
        assert not lane.blocks
        lane._late(199.5, 0.75)  # 0.25 s after the last step began
        lane.beat.stop()
        return [*lane.blocks]

    assert asyncio.run(late()) == [Block(200.0, 0.25, None)]


def test_a_thread_that_is_gone_has_no_place(dog: Watchdog) -> None:
    loop: Any = Loop()
    loop.thread = -1
    loop.block(a_scope())
    dog._look(loop)
    assert dog._seen == {}


def test_a_block_that_does_not_end_is_reported_once(dog: Watchdog, reports: list[Report]) -> None:
    loop: Any = Loop()
    scope = a_scope()
    began = loop.block(scope, seconds=11)
    for _ in range(3):
        dog._look(loop)
    (report,) = reports
    assert (report.seconds >= 11, report.is_over) == (True, False)
    loop.end(began, 12, scope)
    dog._tell(loop)
    assert len(reports) == 1


# --- what is logged -----------------------------------------------------------------------------


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "promweb")
    return caplog


PLACE = Place("shop.py:18", "readinto at socket.py:718")


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (
            Report(0.42, PLACE, a_scope("/orders/<name>")),
            "Code blocked the event loop for 0.4 s at shop.py:18 (readinto at socket.py:718) in "
            "/orders/<name>. All other requests",
        ),
        (
            Report(10.5, Place("shop.py:18", ""), None, is_over=False),
            "Code blocked the event loop for 10.5 s at shop.py:18, outside of requests, and still "
            "does. All other requests",
        ),
        (Report(1, UNSEEN, a_scope(None)), "a place that the watchdog did not see in <unmatched>."),
        (Report(1, PLACE, a_scope(dispatched=False)), "in a request before its dispatch."),
    ],
)
def test_the_line(log: pytest.LogCaptureFixture, report: Report, says: str) -> None:
    module._Log()(report)
    assert says in log.messages[0]
    assert log.records[0].levelno == logging.WARNING


def test_a_place_is_logged_once_an_hour(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    monkeypatch.setattr(module, "MOST_PLACES", 3)
    write = module._Log()

    def lines(*reports: Report) -> int:
        before = len(log.messages)
        for report in reports:
            write(report)
        return len(log.messages) - before

    known = Report(1, PLACE, a_scope())
    assert lines(known, known, Report(1, PLACE, a_scope("/other"))) == 1
    now[0] += 3599
    assert lines(known) == 0
    now[0] += 2
    assert lines(known) == 1
    # The route tells blocks apart that the thread did not see.
    assert lines(*[Report(1, UNSEEN, a_scope(rule)) for rule in ("/a", "/b", "/a")]) == 2
    assert lines(Report(1, Place("other.py:1", ""), None), known) == 2  # too many: forgotten


def test_a_handler_that_raises_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(module.logger, "warning", fail)
    module._Log()(Report(1, PLACE, None))


# --- places -------------------------------------------------------------------------------------


def frame_in(source: str, file: str, name: str = "somewhere") -> Any:
    """Return a frame of a function `f` that seems to be in a file."""
    namespace: dict[str, Any] = {"__name__": name, "getframe": sys._getframe}
    exec(compile(source, file, "exec"), namespace)
    return namespace["f"]


def test_the_place_is_the_innermost_line_of_the_program() -> None:
    library = os.__file__
    called = frame_in("def f(): return getframe()", library)
    caller = frame_in("def f(call):\n\n  return call()", "/srv/app/shop.py")
    place = place_of(caller(called))
    assert place == Place("shop.py:3", "f at os.py:1")
    assert str(place) == "shop.py:3 (f at os.py:1)"


def test_what_an_application_has_below_its_root_is_its_own() -> None:
    packages = os.path.dirname(pytest.__file__)
    installed = f"{packages}/shop/views.py"
    frame = frame_in("def f(): return getframe()", installed)()
    inside = frame_in("def f(call): return call()", "<string>")
    assert place_of(frame, f"{packages}/shop").innermost == ""
    assert str(place_of(frame, f"{packages}/shop")).endswith("shop/views.py:1")
    # A module beside all other packages has them all below its root.
    assert inside(lambda: place_of(sys._getframe(), os.path.dirname(packages)))


def test_what_is_around_the_loop_is_no_place() -> None:
    called = frame_in("def f(): return getframe()", os.__file__)
    loop = frame_in("def f(call): return call()", "/x/events.py", "asyncio.events")
    loop.__code__ = loop.__code__.replace(co_name="_run")
    place = place_of(loop(called))
    assert place == Place("os.py:1", "")


# --- processes ----------------------------------------------------------------------------------


@posix
def test_a_forked_child_has_a_thread_and_a_beat_of_its_own() -> None:
    program = """
        import asyncio, json, os, threading, warnings
        from quart import Quart
        from promweb import AsyncPrometheusMetrics
        warnings.simplefilter("ignore")

        app = Quart("shop")
        metrics = AsyncPrometheusMetrics(app, event_loop=True)

        def names():
            return sorted(t.name for t in threading.enumerate() if t.name == "promweb-loop")

        async def serve():
            await app.startup()
            await asyncio.sleep(0.3)
            found = names()
            beats = metrics.registry.get_sample_value("flask_event_loop_lag_seconds_count")
            await app.shutdown()
            return found, beats > 0

        async def main():
            await app.startup()
            reading, writing = os.pipe()
            if not (pid := os.fork()):
                asyncio.events._set_running_loop(None)
                before = metrics.registry.get_sample_value("flask_event_loop_lag_seconds_count")
                os.write(writing, json.dumps([before, asyncio.run(serve())]).encode())
                os._exit(0)
            os.waitpid(pid, 0)
            child = json.loads(os.read(reading, 1000))
            parent = names()
            await app.shutdown()
            return child, parent

        print(json.dumps(asyncio.run(main())))
        """
    done = python(program)
    child, parent = json.loads(done.stdout or done.stderr)
    assert child == [0.0, [["promweb-loop"], True]]
    assert parent == ["promweb-loop"]


@pytest.mark.parametrize("name", ["asyncio", "trio", "uvloop"])
def test_an_event_loop_that_waits_is_not_blocked(name: str) -> None:
    """On a busy machine it may be late all the same."""
    if name == "uvloop":
        pytest.importorskip("uvloop")
    backend = "trio" if name == "trio" else "asyncio"
    options = {} if name == "trio" else {"use_uvloop": name == "uvloop"}
    blocked, over, wake = threading.Event(), threading.Event(), threading.Event()

    async def main() -> None:
        await anyio.to_thread.run_sync(wake.wait)
        blocked.set()
        over.wait(DEADLINE)

    thread = threading.Thread(
        target=lambda: anyio.run(main, backend=backend, backend_options=options)
    )

    def waits() -> bool:
        frame = sys._current_frames().get(thread.ident or 0)
        return frame is not None and is_waiting(frame)

    thread.start()
    try:
        eventually(waits)
        wake.set()
        assert blocked.wait(DEADLINE)
        assert not waits()
    finally:
        wake.set()
        over.set()
        thread.join()
