"""An application whose requests follow their scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from typing import Any

import anyio

from tests.support.legs import Leg

from .scripts import BEFORE, CHUNK, VIEW, Script, Setup

PART = b"12345678"
"""Each part of a stream."""


class Quit(BaseException):
    """Ends a process; does not derive from `Exception`."""


INSIDE = ("event_loop", "threads", "background_tasks")
"""The arguments that change how Quart calls the application, and nothing that a client sees."""


class Refused(Exception):
    """Has an error handler, which answers 409."""


class Shop:
    """The application of one program; `scripts` are looked up by a header of the request."""

    def __init__(self, leg: Leg, setup: Setup) -> None:
        self.leg, self.web, self.setup = leg, leg.web, setup
        self.is_quart = leg.name.startswith("quart")
        self.scripts: list[Script] = []
        self.hangs: dict[int, Hang] = {}
        self.app = leg.make_app()
        self.app.logger.disabled = True
        self.metrics = leg.make_metrics(
            self.app,
            group_by=self._shelf() if setup.group_by == "shelf" else setup.group_by,
            default_latency_as_histogram=setup.histogram,
            default_labels=self._default_labels(),
            excluded_paths="/private",
            exclude_user_defaults=setup.excludes_decorators,
            in_progress=setup.in_progress,
            request_size=setup.sizes,
            response_size=setup.sizes,
            response_start=setup.sizes,
            queue_time=setup.sizes,
            **dict.fromkeys(INSIDE, setup.sizes and self.is_quart),
        )
        self.direct = self.metrics.counter("direct", "Views.", labelnames=["route"])
        self._add_hooks()
        self._add_views()
        if self.is_quart:
            self._add_websocket()
        if setup.registers_default:
            self.metrics.register_default(
                self.metrics.counter("every", "Views.", {"status": _status})
            )
        self.sold = self.metrics.counter("sold", "Sold.", labelnames=["kind"])
        self.kept = self.sold.labels(kind="kept")
        self.level = self.metrics.gauge("level", "Level.", CONSTANT)
        self.amounts = self.metrics.histogram("amounts", "Amounts.", buckets=(-1, 1))
        self.waited = self.metrics.summary("waited", "Waited.", labelnames=["in"])
        self.job = self.metrics.counter("jobs", "Jobs.", {"kind": lambda result: result})(
            self.metrics.gauge("working", "Jobs.", CONSTANT)(run_job)
        )

    def say(self, script: Script) -> int:
        """Return the number under which a request finds its script."""
        self.scripts.append(script)
        return len(self.scripts) - 1

    # --- labels ---------------------------------------------------------------------------------

    @property
    def _number(self) -> int | None:
        web = self.web
        if not web.has_request_context():
            return None
        return web.request.headers.get("X-Script", None, int)  # type: ignore[no-any-return]

    @property
    def _script(self) -> Script:
        number = self._number
        return Script() if number is None else self.scripts[number]

    def _mood(self) -> str:
        if self._script.label:
            raise LookupError("mood")
        return "calm"

    async def _late_mood(self) -> str:
        await anyio.lowlevel.checkpoint()
        return self._mood()

    async def _late_status(self, response: Any) -> str:
        await self._hang("label")
        return str(response.status_code)

    def _shelf(self) -> Callable[..., object]:
        def shelf(request: Any) -> str:
            if self._script.label:
                raise LookupError("shelf")
            return f"shelf of {request.path}"

        return shelf

    def _default_labels(self) -> dict[str, object]:
        kind = self.setup.default_labels
        if kind == "late" and not self.is_quart:
            kind = "callable"
        return {
            "": {},
            "constant": {"tenant": "t1"},
            "callable": {"mood": self._mood, "tenant": "t1"},
            "late": {"tenant": "t1", "mood": self._late_mood},
        }[kind]

    # --- what runs ------------------------------------------------------------------------------

    async def _hang(self, where: str) -> None:
        number = self._number
        if number in self.hangs and self.scripts[number].hangs == where:
            await self.hangs[number].stay()

    def _hook(self, function: Callable[..., Any], where: str) -> Callable[..., Any]:
        """Return a hook that hangs at `where` on Quart, which runs plain ones in threads."""
        if not self.is_quart:
            return function

        async def hook(*args: Any) -> Any:
            await self._hang(where)
            return function(*args)

        return hook

    def _add_hooks(self) -> None:
        app, web = self.app, self.web

        def before() -> Any:
            self.leg.clock.advance(BEFORE)
            script = self._script
            app.testing = script.testing
            if script.before == "answers":
                return "no", 401
            return act(web, script.before)

        def after(response: Any) -> Any:
            script = self._script
            if script.after == "changes":
                response.status_code = 203
            elif script.after == "replaces":
                return web.Response("replaced", 202)
            act(web, script.after)
            return response

        def teardown(error: object) -> None:
            act(web, self._script.teardown)

        def page(error: object) -> Any:
            act(web, self.setup.page)
            return "sorry", 503

        app.before_request(self._hook(before, "before"))
        app.after_request(self._hook(after, "after"))
        app.teardown_request(self._hook(teardown, "teardown"))
        app.register_error_handler(Refused, self._hook(lambda error: ("refused", 409), "handler"))
        if self.setup.page:
            app.register_error_handler(500, self._hook(page, "page"))

    def _work(self, **values: object) -> Any:
        """Do what a view does."""
        script = self._script
        self.leg.clock.advance(VIEW)
        self.direct.inc(2, route=script.route)
        if script.helper:
            self._help(script.helper)
        if script.view != "streams":
            act(self.web, script.view)
            return self.web.Response("answer", script.status)
        headers = {"Content-Length": f"{len(PART) * script.chunks}"} if script.announced else {}
        return self.web.Response(self._stream(), script.status, headers)

    def _stream(self) -> Any:
        script, number = self._script, self._number
        return self._async_parts(script, number) if self.is_quart else self._parts(script)

    def _parts(self, script: Script) -> Iterator[bytes]:
        for _ in range(script.chunks):
            self.leg.clock.advance(CHUNK)
            yield PART
        act(self.web, "raises" if script.ending == "raises" else "")

    async def _async_parts(self, script: Script, number: int | None) -> AsyncIterator[bytes]:
        for part in self._parts(Script(chunks=script.chunks)):
            yield part
        if script.hangs == "stream" and number in self.hangs:
            await self.hangs[number].stay()
        act(self.web, "raises" if script.ending == "raises" else "")

    def _view(self) -> Callable[..., Any]:
        """Return a fresh view of this leg's kind."""
        if not (self.is_quart and self.leg.async_views):
            return self.leg.view(lambda **values: self._work(**values))

        async def view(**values: object) -> Any:
            await self._hang("view")
            return self._work(**values)

        return view

    def _generator(self) -> Callable[..., Any]:
        """Return a view that is a generator function, which has no request context."""

        def parts(number: int) -> Iterator[bytes]:
            yield from self._parts(Script(chunks=number))

        async def parts_async(number: int) -> AsyncIterator[bytes]:
            for part in parts(number):
                yield part

        return parts_async if self.is_quart and self.leg.async_views else parts

    def _add_views(self) -> None:
        metrics, status = self.metrics, {"status": lambda response: response.status_code}
        shaky = {**status, "shaky": self._mood, "path": lambda: self.web.request.path}
        counter = metrics.counter
        late: dict[str, object] = shaky
        if self.is_quart:
            late = {"status": self._late_status, "shaky": self._late_mood}
        self._help = counter("helped", "Calls.", {"value": lambda result: result})(help_view)

        timed = metrics.summary("size", "Calls.", status)(self._view())
        timed = metrics.gauge("busy", "Calls.", CONSTANT)(timed)
        timed = metrics.histogram("time", "Calls.", status)(timed)

        kind = import_module(f"{self.web.__name__}.views").View
        klass = type(
            "Klass",
            (kind,),
            {"dispatch_request": counter("klass", "Calls.", status)(self._method())},
        )
        views = {
            "plain": self._view(),
            "counted": counter("views", "Views.", shaky)(self._view()),
            "timed": timed,
            "untracked": counter("untracked", "Views.", status)(
                metrics.do_not_track()(self._view())
            ),
            "hidden": metrics.exclude_all_metrics()(counter("hidden", "V.", status)(self._view())),
            "hidden_inside": counter("inside", "Views.", status)(
                metrics.exclude_all_metrics()(self._view())
            ),
            "private": counter("private", "Views.", status)(self._view()),
            "generator": metrics.summary("parts", "Streams.", status)(self._generator()),
            "late": counter("late", "Views.", late)(self._view()),
            "klass": klass.as_view("klass"),  # type: ignore[attr-defined]
        }
        for endpoint, view in views.items():
            rule = f"/{endpoint}/<int:number>"
            self.app.add_url_rule(rule, endpoint, view, methods=["GET", "POST"])

    def _method(self) -> Callable[..., Any]:
        view = self._view()
        if self.leg.async_views:

            async def dispatch_async(self: object, **values: object) -> Any:
                return await view(**values)

            return dispatch_async

        def dispatch(self: object, **values: object) -> Any:
            return view(**values)

        return dispatch

    def _add_websocket(self) -> None:
        websocket = self.web.websocket

        @self.app.websocket("/talk/<int:number>")
        async def talk(number: int) -> None:
            while True:
                said = await websocket.receive()
                if said == "close":
                    return await websocket.close(4000)  # type: ignore[no-any-return]
                if said == "raise":
                    raise ZeroDivisionError
                await websocket.send(said)

        @self.app.websocket("/rejected/<int:number>")
        async def rejected(number: int) -> None:
            self.web.abort(403)


CONSTANT = {"mood": "-", "tenant": "-"}
"""Labels of gauges, which beat the default labels."""


def _status(result: Any) -> object:
    """Return the status of a response; `none` for other objects, as websockets have no status."""
    return getattr(result, "status_code", "none")


def act(web: Any, what: str) -> None:
    """Raise what a script says, if it says so."""
    if what == "aborts":
        web.abort(418)
    if what == "handled":
        raise Refused
    if what == "raises":
        raise ZeroDivisionError
    if what == "exits":
        raise Quit


def help_view(how: str) -> str:
    if how == "raises":
        raise Refused
    return "helped"


def run_job(how: str) -> str:
    if how == "raises":
        raise ZeroDivisionError
    return "done"


class Hang:
    """A place where a request hangs at its first visit, until the test lets it go on."""

    def __init__(self) -> None:
        self.reached, self.released = anyio.Event(), anyio.Event()

    async def stay(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            await self.released.wait()
