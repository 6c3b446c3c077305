"""Decorators on every kind of callable, within requests and outside them."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import sys
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.legs import LEGS, Leg
from tests.support.samples import names, samples

MEASURING = ("counter", "gauge", "histogram", "summary")
MARKING = ("do_not_track", "exclude_all_metrics")


@pytest.fixture(params=["flask-sync", "quart-sync"])
def jobs(request: pytest.FixtureRequest) -> Leg:
    """Return a leg for code that runs outside of requests: the kind of view does not matter."""
    return LEGS[request.param]()


def make_metrics(leg: Leg, **kwargs: Any) -> Any:
    return leg.make_metrics(None, **kwargs)


def decorator(metrics: Any, kind: str, **kwargs: Any) -> Any:
    if kind in MARKING:
        return getattr(metrics, kind)()
    return getattr(metrics, kind)(f"{kind}_of_jobs", "Jobs.", **kwargs)


def calls(leg: Leg, kind: str) -> float | None:
    """Return how many calls a decorator of `decorator` recorded (None for those that do not)."""
    suffix = {"counter": "_total", "histogram": "_count", "summary": "_count"}.get(kind)
    return None if suffix is None else leg.value(f"{kind}_of_jobs{suffix}")


def recorded(kind: str, count: float) -> float | None:
    return None if kind in (*MARKING, "gauge") else count


# --- the kinds of callables --------------------------------------------------------------------


def plain(a: int, *, b: int = 2) -> int:
    """Add."""
    return a + b


async def coroutine(a: int, *, b: int = 2) -> int:
    """Add later."""
    await asyncio.sleep(0)
    return a + b


def generator(a: int, *, b: int = 2) -> Generator[int, None, str]:
    """Add in steps."""
    yield a
    yield a + b
    return "end"


async def async_generator(a: int, *, b: int = 2) -> AsyncGenerator[int, None]:
    """Add in later steps."""
    yield a
    await asyncio.sleep(0)
    yield a + b


class Methods:
    """Every kind of callable as a method."""

    base = 1

    def plain(self, *, b: int = 2) -> int:
        """Add."""
        return self.base + b

    async def coroutine(self, *, b: int = 2) -> int:
        """Add later."""
        return self.base + b

    def generator(self, *, b: int = 2) -> Iterator[int]:
        """Add in steps."""
        yield self.base
        yield self.base + b

    async def async_generator(self, *, b: int = 2) -> AsyncGenerator[int, None]:
        """Add in later steps."""
        yield self.base
        yield self.base + b


class Callable_:
    """A callable object."""

    def __call__(self, a: int, *, b: int = 2) -> int:
        return a + b


class AsyncCallable:
    """A callable object whose calls are awaited."""

    async def __call__(self, a: int, *, b: int = 2) -> int:
        return a + b


class GeneratorCallable:
    """A callable object whose calls are iterated."""

    def __call__(self, a: int, *, b: int = 2) -> Iterator[int]:
        yield a
        yield a + b


class AsyncGeneratorCallable:
    """A callable object whose calls are iterated asynchronously."""

    async def __call__(self, a: int, *, b: int = 2) -> AsyncGenerator[int, None]:
        yield a
        yield a + b


def use(function: Callable[..., Any], *args: Any, **kwargs: Any) -> object:
    """Call a callable of any kind and return all that it gives."""
    result = function(*args, **kwargs)
    if inspect.iscoroutine(result):
        return asyncio.run(result)
    if inspect.isasyncgen(result):

        async def drain() -> list[object]:
            return [item async for item in result]

        return asyncio.run(drain())
    return list(result) if inspect.isgenerator(result) else result


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "plain": plain,
    "coroutine": coroutine,
    "generator": generator,
    "async generator": async_generator,
    "lambda": lambda a, *, b=2: a + b,
    "partial": functools.partial(plain, 1),
    "partial coroutine": functools.partial(coroutine, 1),
    "partial generator": functools.partial(generator, 1),
    "partial async generator": functools.partial(async_generator, 1),
    "nested partial": functools.partial(functools.partial(generator, 1), b=4),
    "bound": Methods().plain,
    "bound coroutine": Methods().coroutine,
    "bound generator": Methods().generator,
    "bound async generator": Methods().async_generator,
    "object": Callable_(),
    "async object": AsyncCallable(),
    "generator object": GeneratorCallable(),
    "async generator object": AsyncGeneratorCallable(),
    "builtin": max,
}


def arguments(name: str) -> tuple[int, ...]:
    if name == "builtin":
        return (1, 3)
    return () if "partial" in name or "bound" in name else (1,)


@pytest.mark.parametrize("kind", [*MEASURING, *MARKING])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_decorated_callable_gives_the_same_and_is_measured(jobs: Leg, kind: str, name: str) -> None:
    function = FUNCTIONS[name]
    decorated = decorator(make_metrics(jobs), kind)(function)
    expected = use(function, *arguments(name))
    assert use(decorated, *arguments(name)) == expected
    assert use(decorated, *arguments(name)) == expected
    if name != "builtin":
        assert use(decorated, *arguments(name), b=5) == use(function, *arguments(name), b=5)
    assert calls(jobs, kind) == recorded(kind, 2.0 if name == "builtin" else 3.0)
    if kind == "gauge":
        assert jobs.value("gauge_of_jobs") == 0.0


@pytest.mark.parametrize("kind", [*MEASURING, *MARKING])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_decorated_callable_keeps_its_kind_and_metadata(jobs: Leg, kind: str, name: str) -> None:
    function = FUNCTIONS[name]
    decorated = decorator(make_metrics(jobs), kind)(function)
    if name != "async object":  # `inspect` does not see its coroutine function
        for is_kind in (
            inspect.iscoroutinefunction,
            inspect.isgeneratorfunction,
            inspect.isasyncgenfunction,
        ):
            assert is_kind(decorated) == is_kind(function), is_kind
    if name != "builtin":  # has no signature
        assert inspect.signature(decorated) == inspect.signature(function)
    for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
        if hasattr(function, attribute):
            assert getattr(decorated, attribute) == getattr(function, attribute)
    assert decorated.__wrapped__ is function


def test_attributes_of_the_function_are_kept(jobs: Leg) -> None:
    def view() -> None:
        """Do nothing."""

    view.methods = ["POST"]  # type: ignore[attr-defined]  # Flask reads it
    decorated = make_metrics(jobs).counter("calls", "Calls.")(view)
    assert decorated.methods == ["POST"]


@pytest.mark.parametrize("order", ["outside", "inside"])
@pytest.mark.parametrize("binding", [staticmethod, classmethod])
@pytest.mark.parametrize("name", ["plain", "coroutine", "generator", "async_generator"])
@pytest.mark.parametrize("kind", [*MEASURING, *MARKING])
def test_static_and_class_methods_in_both_orders(
    jobs: Leg, kind: str, name: str, binding: type, order: str
) -> None:
    decorate = decorator(make_metrics(jobs), kind)
    function = {
        "plain": plain,
        "coroutine": coroutine,
        "generator": generator,
        "async_generator": async_generator,
    }[name]
    if binding is classmethod:
        function = getattr(Methods, name)
    method = decorate(binding(function)) if order == "outside" else binding(decorate(function))
    owner = type("Owner", (), {"method": method, "base": 1})
    args = (1,) if binding is staticmethod else ()
    expected = 3 if name in ("plain", "coroutine") else [1, 3]
    assert isinstance(method, binding)
    assert use(owner.method, *args) == expected
    assert use(owner().method, *args) == expected
    assert calls(jobs, kind) == recorded(kind, 2.0)
    assert inspect.iscoroutinefunction(owner.method) == (name == "coroutine")
    assert inspect.isgeneratorfunction(owner.method) == (name == "generator")
    assert inspect.isasyncgenfunction(owner.method) == (name == "async_generator")
    assert inspect.signature(owner.method) == inspect.signature(binding(function).__get__(owner))


@pytest.mark.parametrize("name", ["plain", "coroutine", "generator", "async_generator"])
@pytest.mark.parametrize("kind", [*MEASURING, *MARKING])
def test_methods_are_bound_and_overridden_as_ever(jobs: Leg, kind: str, name: str) -> None:
    decorate = decorator(make_metrics(jobs), kind)
    base = type("Base", (), {"method": decorate(getattr(Methods, name)), "base": 1})

    class Derived(base):  # type: ignore[misc,valid-type]
        base = 10

        def method(self) -> object:
            return super().method(b=3)

    single = name in ("plain", "coroutine")
    assert use(base().method) == (3 if single else [1, 3])
    assert use(Derived().method) == (13 if single else [10, 13])
    assert base().method.__self__.__class__ is base
    assert use(base.method, Derived(), b=3) == (13 if single else [10, 13])
    assert calls(jobs, kind) == recorded(kind, 3.0)


@pytest.mark.parametrize("kind", [*MEASURING, *MARKING])
def test_decorators_stack_on_any_kind(jobs: Leg, kind: str) -> None:
    metrics = make_metrics(jobs)
    for number, function in enumerate(FUNCTIONS.values()):
        name = list(FUNCTIONS)[number]
        outer = metrics.counter(f"outer{number}", "Calls.")
        decorated = outer(decorator(metrics, kind)(outer(function)))
        assert use(decorated, *arguments(name)) == use(function, *arguments(name)), name
        assert jobs.value(f"outer{number}_total") == 2.0, name
    assert calls(jobs, kind) == recorded(kind, float(len(FUNCTIONS)))


@pytest.mark.parametrize("kind", [*MEASURING, *MARKING])
def test_view_class_is_decorated_in_place_and_its_base_is_not(leg: Leg, kind: str) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    views = importlib.import_module(f"{leg.web.__name__}.views")
    base = type("Base", (views.MethodView,), {"get": leg.view(lambda self: "ok")})
    decorated = type("Decorated", (base,), {})

    assert decorator(metrics, kind)(decorated) is decorated
    app.add_url_rule("/base", view_func=base.as_view("base"))
    app.add_url_rule("/decorated", view_func=decorated.as_view("decorated"))

    for path in ("/base", "/decorated", "/decorated"):
        assert leg.get(app, path).data == b"ok"
    assert calls(leg, kind) == recorded(kind, 2.0)
    paths = [
        labels["path"]
        for labels, _ in samples(leg.registry, "flask_http_request_duration_seconds_count")
    ]
    assert paths == (["/base"] if kind in MARKING else ["/base", "/decorated"])


# --- one decorator, many functions --------------------------------------------------------------


def test_one_decorator_on_many_functions_shares_the_family(jobs: Leg) -> None:
    metrics = make_metrics(jobs)
    count = metrics.counter("calls", "Calls.", labels={"got": lambda result: result})
    first, second = count(lambda: "one"), count(lambda: "two")
    first()
    second()
    first()
    assert samples(jobs.registry, "calls_total") == [({"got": "one"}, 2.0), ({"got": "two"}, 1.0)]


@pytest.mark.parametrize("kind", MEASURING)
def test_equal_definitions_share_the_family(jobs: Leg, kind: str) -> None:
    one, other = make_metrics(jobs), make_metrics(jobs)
    decorator(one, kind, labels={"by": "a"})(plain)(1)
    decorator(other, kind, labels={"by": "b"})(plain)(1)
    name = {"counter": "_total", "gauge": ""}.get(kind, "_count")
    value = 0.0 if kind == "gauge" else 1.0
    expected = [({"by": "a"}, value), ({"by": "b"}, value)]
    assert samples(jobs.registry, f"{kind}_of_jobs{name}") == expected


# --- exceptions --------------------------------------------------------------------------------


class Boom(Exception):
    """A program's own exception."""


def raising(problem: BaseException) -> dict[str, Callable[[], Any]]:
    def plain() -> None:
        raise problem

    async def coroutine() -> None:
        raise problem

    def generator() -> Iterator[int]:
        raise problem
        yield

    async def async_generator() -> AsyncGenerator[int, None]:
        raise problem
        yield

    return {f.__name__: f for f in (plain, coroutine, generator, async_generator)}


@pytest.mark.parametrize("kind", [*MEASURING, *MARKING])
@pytest.mark.parametrize("name", raising(Boom()))
@pytest.mark.parametrize("problem", [Boom, KeyboardInterrupt, SystemExit])
def test_exceptions_pass_through_untouched(
    jobs: Leg, kind: str, name: str, problem: type[BaseException]
) -> None:
    original = problem("boom")
    function = raising(original)[name]
    decorated = decorator(make_metrics(jobs), kind)(function)
    with pytest.raises(problem) as caught:
        use_without_a_loop(decorated)
    assert caught.value is original
    assert original.__context__ is None
    assert original.__cause__ is None
    assert original.args == ("boom",)
    last = traceback.extract_tb(original.__traceback__)[-1]
    assert (last.filename, last.name) == (__file__, name)
    assert calls(jobs, kind) == recorded(kind, 1.0)
    if kind == "gauge":
        assert jobs.value("gauge_of_jobs") == 0.0


def use_without_a_loop(function: Callable[[], Any]) -> None:
    """Run one step of any kind of callable; an event loop does things to `SystemExit`."""
    result = function()
    if inspect.isasyncgen(result):
        result = result.asend(None)
    if inspect.isgenerator(result):
        next(result)
    elif result is not None:
        result.send(None)


def test_exception_within_an_except_clause_keeps_its_context(jobs: Leg) -> None:
    first, second = Boom("first"), Boom("second")

    @make_metrics(jobs).counter("calls", "Calls.", labels={"got": lambda result: result})
    def job() -> None:
        try:
            raise first
        except Boom:
            raise second from first

    with pytest.raises(Boom) as caught:
        job()
    assert caught.value is second
    assert second.__cause__ is first
    assert first.__context__ is None
    assert samples(jobs.registry, "calls_total") == [({"got": "<exception>"}, 1.0)]


# --- generators --------------------------------------------------------------------------------


def test_generator_gets_what_is_sent_and_gives_its_return_value(jobs: Leg) -> None:
    @make_metrics(jobs).counter("calls", "Calls.", labels={"got": lambda result: result})
    def echo() -> Generator[str, str, str]:
        got = yield "ready"
        while got != "end":
            try:
                got = yield f"sent {got}"
            except Boom as error:
                got = yield f"thrown {error}"
        return "bye"

    running = echo()
    assert next(running) == "ready"
    assert running.send("a") == "sent a"
    assert running.throw(Boom("b")) == "thrown b"
    assert running.send("c") == "sent c"
    assert samples(jobs.registry, "calls_total") == []
    with pytest.raises(StopIteration) as stop:
        running.send("end")
    assert stop.value.value == "bye"
    assert samples(jobs.registry, "calls_total") == [({"got": "bye"}, 1.0)]


def test_generator_that_is_closed_cleans_up_once(jobs: Leg) -> None:
    log: list[str] = []

    @make_metrics(jobs).counter("calls", "Calls.")
    def job() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            log.append("cleaned up")

    running = job()
    next(running)
    running.close()
    running.close()
    assert log == ["cleaned up"]
    assert jobs.value("calls_total") == 1.0
    assert list(running) == []


def test_generator_as_context_manager_and_delegate(jobs: Leg) -> None:
    count = make_metrics(jobs).counter("calls", "Calls.")

    @contextmanager
    @count
    def manager() -> Iterator[str]:
        yield "inside"

    @count
    def inner() -> Generator[int, None, int]:
        yield 1
        return 2

    def outer() -> Iterator[int]:
        yield (yield from inner())

    with manager() as value:
        assert value == "inside"
    with pytest.raises(Boom), manager():
        raise Boom
    assert list(outer()) == [1, 2]
    assert jobs.value("calls_total") == 3.0


def test_async_generator_gets_what_is_sent_and_thrown(jobs: Leg) -> None:
    @make_metrics(jobs).counter("calls", "Calls.")
    async def echo() -> AsyncGenerator[str, str]:
        got = yield "ready"
        while got != "end":
            try:
                got = yield f"sent {got}"
            except Boom as error:
                got = yield f"thrown {error}"

    async def drive() -> None:
        running = echo()
        assert await anext(running) == "ready"
        assert await running.asend("a") == "sent a"
        assert await running.athrow(Boom("b")) == "thrown b"
        assert await running.asend("c") == "sent c"
        assert jobs.value("calls_total") == 0.0
        with pytest.raises(StopAsyncIteration):
            await running.asend("end")
        with pytest.raises(StopAsyncIteration):
            await anext(running)

    asyncio.run(drive())
    assert jobs.value("calls_total") == 1.0


def test_async_generator_that_is_closed_cleans_up_at_once(jobs: Leg) -> None:
    log: list[str] = []

    @make_metrics(jobs).counter("calls", "Calls.")
    async def job() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            log.append("cleaned up")

    async def drive() -> None:
        running = job()
        await anext(running)
        await running.aclose()
        assert log == ["cleaned up"]
        await running.aclose()
        assert [item async for item in running] == []

    asyncio.run(drive())
    assert log == ["cleaned up"]
    assert jobs.value("calls_total") == 1.0


def test_async_generator_that_raises_what_was_thrown(jobs: Leg) -> None:
    problem = Boom("thrown")

    @make_metrics(jobs).counter("calls", "Calls.", labels={"got": lambda result: result})
    async def job() -> AsyncGenerator[int, None]:
        yield 1

    async def drive() -> None:
        running = job()
        await anext(running)
        with pytest.raises(Boom) as caught:
            await running.athrow(problem)
        assert caught.value is problem
        assert problem.__context__ is None

    asyncio.run(drive())
    assert samples(jobs.registry, "calls_total") == [({"got": "<exception>"}, 1.0)]


@pytest.mark.parametrize("kind", MEASURING)
def test_generators_that_never_start_are_not_recorded(jobs: Leg, kind: str) -> None:
    decorate = decorator(make_metrics(jobs), kind)
    running = decorate(generator)(1)
    running.close()
    asyncio.run(decorate(async_generator)(1).aclose())
    decorate(coroutine)(1).close()
    assert calls(jobs, kind) == recorded(kind, 0.0)
    assert kind != "gauge" or jobs.value("gauge_of_jobs") == 0.0


# --- time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["histogram", "summary"])
def test_functions_are_timed(jobs: Leg, kind: str) -> None:
    time = decorator(make_metrics(jobs), kind)

    @time
    def job() -> None:
        jobs.clock.advance(0.25)

    @time
    async def job_async() -> None:
        await asyncio.sleep(0)
        jobs.clock.advance(0.5)

    @time
    def job_raising() -> None:
        jobs.clock.advance(1.0)
        raise Boom

    job()
    asyncio.run(job_async())
    with pytest.raises(Boom):
        job_raising()
    assert jobs.value(f"{kind}_of_jobs_sum") == 1.75
    assert jobs.value(f"{kind}_of_jobs_count") == 3.0


@pytest.mark.parametrize("kind", ["histogram", "summary"])
def test_generator_is_timed_from_its_first_item_to_its_end(jobs: Leg, kind: str) -> None:
    @decorator(make_metrics(jobs), kind)
    def steps() -> Iterator[int]:
        for number in range(3):
            jobs.clock.advance(0.25)
            yield number

    running = steps()
    jobs.clock.advance(8.0)  # before it starts
    for _ in running:
        assert jobs.value(f"{kind}_of_jobs_count") == 0.0
        jobs.clock.advance(1.0)
    jobs.clock.advance(16.0)  # after its end
    del running
    assert jobs.value(f"{kind}_of_jobs_sum") == 3.75
    assert jobs.value(f"{kind}_of_jobs_count") == 1.0


@pytest.mark.parametrize("kind", ["histogram", "summary"])
def test_async_generator_is_timed_from_its_first_item_to_its_end(jobs: Leg, kind: str) -> None:
    @decorator(make_metrics(jobs), kind)
    async def steps() -> AsyncGenerator[int, None]:
        for number in range(3):
            await asyncio.sleep(0)
            jobs.clock.advance(0.25)
            yield number

    async def drive() -> None:
        running = steps()
        jobs.clock.advance(8.0)
        async for _ in running:
            assert jobs.value(f"{kind}_of_jobs_count") == 0.0
            jobs.clock.advance(1.0)
        jobs.clock.advance(16.0)

    asyncio.run(drive())
    assert jobs.value(f"{kind}_of_jobs_sum") == 3.75
    assert jobs.value(f"{kind}_of_jobs_count") == 1.0


@pytest.mark.parametrize("how", ["closed", "raised", "dropped"])
def test_generator_is_timed_until_it_stops(jobs: Leg, how: str) -> None:
    @make_metrics(jobs).summary("time", "Time.")
    def steps() -> Iterator[int]:
        jobs.clock.advance(0.25)
        yield 1
        raise Boom

    running = steps()
    next(running)
    jobs.clock.advance(0.5)
    if how == "closed":
        running.close()
    elif how == "raised":
        with pytest.raises(Boom):
            next(running)
    del running
    jobs.clock.advance(4.0)
    assert jobs.value("time_sum") == 0.75
    assert jobs.value("time_count") == 1.0


def test_calls_of_a_callable_object_are_timed_like_those_of_a_function(jobs: Leg) -> None:
    metrics = make_metrics(jobs)

    class Waits:
        async def __call__(self) -> None:
            await asyncio.sleep(0)
            jobs.clock.advance(0.25)

    class Steps:
        def __call__(self) -> Iterator[int]:
            jobs.clock.advance(0.25)
            yield 1

    class LaterSteps:
        async def __call__(self) -> AsyncGenerator[int, None]:
            jobs.clock.advance(0.25)
            yield 1

    for function in (Waits(), Steps(), LaterSteps()):
        name = type(function).__name__.lower()
        use(metrics.summary(name, "Time.")(function))
        assert (name, jobs.value(f"{name}_sum")) == (name, 0.25)


def test_time_never_goes_backwards(jobs: Leg) -> None:
    @make_metrics(jobs).summary("time", "Time.")
    def job() -> None:
        jobs.clock.advance(-5.0)

    job()
    assert jobs.value("time_sum") == 0.0
    assert jobs.value("time_count") == 1.0


# --- gauges ------------------------------------------------------------------------------------


def test_gauge_is_up_during_the_call(jobs: Leg) -> None:
    busy = make_metrics(jobs).gauge("busy", "Busy.", labels={"who": lambda: "me"})

    def now() -> float | None:
        return jobs.value("busy", who="me")

    @busy
    def job(depth: int) -> list[float | None]:
        return [now(), *(job(depth - 1) if depth else [])]

    @busy
    async def job_async() -> float | None:
        await asyncio.sleep(0)
        return now()

    @busy
    def steps() -> Iterator[float | None]:
        yield now()

    @busy
    async def steps_async() -> AsyncGenerator[float | None, None]:
        yield now()

    assert job(2) == [1.0, 2.0, 3.0]
    assert use(job_async) == 1.0
    assert use(steps) == [1.0]
    assert use(steps_async) == [1.0]
    assert samples(jobs.registry, "busy") == [({"who": "me"}, 0.0)]


@pytest.mark.parametrize("name", raising(Boom()))
def test_gauge_is_down_after_an_exception(jobs: Leg, name: str) -> None:
    decorated = make_metrics(jobs).gauge("busy", "Busy.")(raising(Boom("boom"))[name])
    with pytest.raises(Boom):
        use(decorated)
    assert jobs.value("busy") == 0.0


def test_gauge_is_down_after_a_cancelled_coroutine(jobs: Leg) -> None:
    metrics = make_metrics(jobs)

    @metrics.gauge("busy", "Busy.")
    @metrics.counter("calls", "Calls.", labels={"got": lambda result: result})
    async def job() -> None:
        await asyncio.Event().wait()

    async def drive() -> None:
        task = asyncio.create_task(job())
        await asyncio.sleep(0)
        assert jobs.value("busy") == 1.0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(drive())
    assert jobs.value("busy") == 0.0
    assert samples(jobs.registry, "calls_total") == [({"got": "<exception>"}, 1.0)]


def test_gauge_is_up_from_the_first_item_until_a_generator_is_closed(jobs: Leg) -> None:
    busy = make_metrics(jobs).gauge("busy", "Busy.")
    waiting, running, dropped = (busy(generator)(1) for _ in range(3))
    assert jobs.value("busy") == 0.0
    next(running)
    next(dropped)
    assert jobs.value("busy") == 2.0
    del dropped
    assert jobs.value("busy") == 1.0
    running.close()
    assert jobs.value("busy") == 0.0
    del waiting
    assert jobs.value("busy") == 0.0


def test_gauge_is_up_from_the_first_item_until_an_async_generator_is_closed(jobs: Leg) -> None:
    busy = make_metrics(jobs).gauge("busy", "Busy.")

    async def drive() -> None:
        running, cancelled = busy(async_generator)(1), busy(async_generator)(1)
        assert jobs.value("busy") == 0.0
        await anext(running)
        await anext(cancelled)
        assert jobs.value("busy") == 2.0
        await running.aclose()
        assert jobs.value("busy") == 1.0
        with pytest.raises(asyncio.CancelledError):
            await cancelled.athrow(asyncio.CancelledError())
        assert jobs.value("busy") == 0.0

    asyncio.run(drive())


def test_gauge_is_down_after_a_dropped_async_generator(jobs: Leg) -> None:
    busy = make_metrics(jobs).gauge("busy", "Busy.")

    async def drive() -> None:
        running = busy(async_generator)(1)
        await anext(running)
        assert jobs.value("busy") == 1.0
        del running

    asyncio.run(drive())
    assert jobs.value("busy") == 0.0


def test_gauge_is_up_while_a_view_runs(leg: Leg) -> None:
    app = leg.make_app()
    app.logger.disabled = True
    metrics = leg.make_metrics(app)

    @app.route("/<how>")
    @metrics.gauge("busy", "Busy.", labels={"path": lambda: leg.web.request.path})
    @leg.view
    def index(how: str) -> str:
        assert leg.value("busy", path=f"/{how}") == 1.0
        if how == "raise":
            raise Boom
        if how == "abort":
            leg.web.abort(404)
        return "ok"

    statuses = [leg.get(app, f"/{how}").status for how in ("return", "raise", "abort")]
    assert statuses == [200, 500, 404]
    assert samples(leg.registry, "busy") == [
        ({"path": "/return"}, 0.0),
        ({"path": "/raise"}, 0.0),
        ({"path": "/abort"}, 0.0),
    ]


# --- outside of requests -----------------------------------------------------------------------


def test_labels_of_a_job_get_its_return_value(jobs: Leg, caplog: pytest.LogCaptureFixture) -> None:
    metrics = make_metrics(jobs, default_labels={"tier": "batch"})
    labels = {"got": lambda result: result, "who": lambda: "cron"}

    @metrics.counter("calls", "Calls.", labels=labels)
    @metrics.histogram("time", "Time.", labels=labels)
    def job(number: int) -> int:
        if not number:
            raise Boom
        return number

    assert job(1) == 1
    with pytest.raises(Boom):
        job(0)
    expected = [
        ({"got": "1", "who": "cron", "tier": "batch"}, 1.0),
        ({"got": "<exception>", "who": "cron", "tier": "batch"}, 1.0),
    ]
    assert samples(jobs.registry, "calls_total") == expected
    assert samples(jobs.registry, "time_count") == expected
    assert caplog.records == []


def test_label_of_a_job_that_needs_a_request_is_an_error_value(jobs: Leg) -> None:
    @make_metrics(jobs).counter("calls", "Calls.", labels={"path": lambda: jobs.web.request.path})
    def job() -> str:
        return "done"

    assert job() == "done"
    assert samples(jobs.registry, "calls_total") == [({"path": "<error>"}, 1.0)]


@pytest.mark.parametrize("kind", MARKING)
def test_marks_do_nothing_outside_of_requests(jobs: Leg, kind: str) -> None:
    metrics = make_metrics(jobs)

    @getattr(metrics, kind)()
    @metrics.counter("calls", "Calls.")
    def job() -> str:
        return "done"

    assert job() == "done"
    assert jobs.value("calls_total") == 1.0


def test_counts_from_threads_are_exact(jobs: Leg) -> None:
    metrics = make_metrics(jobs)
    labels = {"got": lambda result: result}
    buckets = (1.5, 2.5)

    @metrics.counter("calls", "Calls.", labels=labels)
    @metrics.summary("time", "Time.", labels=labels)
    @metrics.histogram("buckets", "Time.", labels=labels, buckets=buckets)
    @metrics.gauge("busy", "Busy.")
    def job(number: int) -> int:
        return number % 3

    def work() -> None:
        for number in range(3000):
            job(number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for name in ("calls_total", "time_count", "buckets_count"):
        counts = {labels["got"]: value for labels, value in samples(jobs.registry, name)}
        assert counts == {"0": 8000.0, "1": 8000.0, "2": 8000.0}, name
    assert jobs.value("busy") == 0.0


# --- what is left out of the metrics ------------------------------------------------------------

DEFAULTS = "flask_http_request_total"


def test_do_not_track_leaves_a_view_out_of_the_default_metrics_only(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)

    @app.route("/")
    @metrics.counter("outer", "Calls.")
    @metrics.do_not_track()
    @metrics.counter("inner", "Calls.")
    @leg.view
    def index() -> str:
        assert not leg.value("flask_http_requests_in_progress", method="GET")
        return "ok"

    @app.route("/tracked")
    @leg.view
    def tracked() -> str:
        return "ok"

    for path in ("/", "/tracked", "/"):
        assert leg.get(app, path).status == 200
    assert leg.value("outer_total") == leg.value("inner_total") == 2.0
    assert samples(leg.registry, DEFAULTS) == [({"method": "GET", "status": "200"}, 1.0)]
    assert samples(leg.registry, "flask_http_request_duration_seconds_count") == [
        ({"method": "GET", "path": "/tracked", "status": "200"}, 1.0)
    ]


def test_exclude_all_metrics_leaves_a_view_out_of_every_metric(leg: Leg) -> None:
    app = leg.make_app()
    app.logger.disabled = True
    metrics = leg.make_metrics(app, in_progress=True)
    helper = metrics.counter("helper", "Calls.")(lambda: "ok")

    @app.route("/<how>")
    @metrics.counter("outer", "Calls.")
    @metrics.histogram("outer_time", "Time.")
    @metrics.exclude_all_metrics()
    @metrics.counter("inner", "Calls.")
    @metrics.gauge("inner_busy", "Busy.", labels={"path": lambda: leg.web.request.path})
    @leg.view
    def index(how: str) -> str:
        assert not leg.value("flask_http_requests_in_progress", method="GET")
        if how == "raise":
            raise Boom
        return helper()

    assert leg.get(app, "/return").data == b"ok"
    assert leg.get(app, "/raise").status == 500
    for name in ("outer_total", "outer_time_count", "inner_total", "helper_total"):
        assert samples(leg.registry, name) == [({}, 0.0)], name
    for name in ("inner_busy", DEFAULTS, "flask_http_request_exceptions_total"):
        assert samples(leg.registry, name) == [], name


def test_marks_count_wherever_they_are_in_the_stack(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)

    @metrics.do_not_track()
    def quiet() -> str:
        return "ok"

    @app.route("/outside")
    @metrics.exclude_all_metrics()
    @metrics.counter("calls", "Calls.")
    @leg.view
    def outside() -> str:
        return "ok"

    @app.route("/helper")
    @leg.view
    def helper() -> str:
        return quiet()

    leg.get(app, "/outside")
    leg.get(app, "/helper")
    assert leg.value("calls_total") == 0.0
    assert DEFAULTS not in names(leg.registry)


@pytest.mark.parametrize("kind", ["function", "generator", "awaited label"])
def test_call_that_excludes_its_own_request(leg: Leg, kind: str) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)

    async def late() -> str:
        return "late"

    if kind == "awaited label" and leg.name != "quart-async":
        pytest.skip("awaits no labels")
    exclude = metrics.exclude_all_metrics()(lambda: "ok")
    count = metrics.counter("calls", "Calls.", {"late": late} if "label" in kind else None)

    @count
    def function() -> str:
        return exclude()  # type: ignore[no-any-return]

    @count
    def generator() -> Iterator[str]:
        yield exclude()

    @count
    async def coroutine() -> str:
        return exclude()  # type: ignore[no-any-return]

    async def wait() -> str:
        return await coroutine()  # type: ignore[no-any-return]

    views = {
        "function": leg.view(lambda: function()),
        "generator": leg.view(lambda: "".join(generator())),
        "awaited label": wait,
    }
    app.add_url_rule("/", "view", views[kind])
    assert leg.get(app, "/").text == "ok"
    assert sum(value for _, value in samples(leg.registry, "calls_total")) == 0.0
