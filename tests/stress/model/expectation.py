"""The expected records: the promises of the documentation, in plain arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.legs import Leg
from tests.support.recorded import Labels, Samples, samples

from .scripts import ALLOWED, CHUNK, VIEW, Script, Setup
from .shop import PART

Family = dict[Labels, float]

METRICS = {
    "counted": ("views",),
    "timed": ("time", "size"),
    "untracked": ("untracked",),
    "private": ("private",),
    "generator": ("parts",),
    "late": ("late",),
    "klass": ("klass",),
}
"""The metrics of each route's decorators, besides gauges."""

DURATION = "flask_http_request_duration_seconds"


@dataclass
class Pending:
    """A request that has not ended, and the facts about its end so far."""

    script: Script
    start: float
    status: int = 0
    failed: bool = False
    leaves: bool = False
    """Whether an exception leaves the application before anything was sent."""
    testing: bool | None = None
    """The mode in which its exception was handled, before the request began to hang."""
    exits: bool = False
    """Whether that exception does not derive from `Exception`."""
    seen: int = 0
    """The status that label callables see."""
    ran: bool = False
    """Whether the view was called."""
    worked: float = 0.0
    """Seconds that the view took."""
    hung: float = 0.0
    """When it came to the place where it stays."""
    left: bool = False
    """Whether it is no more in progress."""
    busy: bool = False
    """Whether the gauge of its view counts it."""
    streams: bool = False
    chunks: int = 0
    """How many parts of the stream were sent."""
    size: int = 0
    """Bytes of the body that were sent."""
    first: float = 0.0
    """Seconds to the first byte of a stream."""
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    """Labels of what will be recorded, by metric."""
    read: float = 0.0
    """When the first part of a stream was asked for, or else the stream was made."""

    @property
    def has_body(self) -> bool:
        """Whether a server sends the body; WSGI applications see to it, ASGI servers do."""
        return self.script.method != "HEAD" and self.status not in (204, 304)

    @property
    def parts(self) -> int:
        """How many parts the stream has."""
        return self.script.number if self.script.route == "generator" else self.script.chunks

    @property
    def breaks(self) -> bool:
        """Whether the stream raises after its last part."""
        return self.script.ending == "raises" and self.script.route != "generator"

    @property
    def is_complete(self) -> bool:
        """Whether as many bytes were sent as the response announced."""
        announced = self.script.announced and self.script.route != "generator"
        return announced and self.chunks == self.parts

    @property
    def matched(self) -> bool:
        return self.script.route != "none" and self.script.method in ALLOWED

    @property
    def hidden(self) -> bool:
        """Whether a mark of the view leaves the request out of every metric."""
        return self.matched and self.script.route in ("hidden", "hidden_inside")

    @property
    def untracked(self) -> bool:
        """Whether a mark of the view leaves the request out of the default metrics."""
        return self.hidden or (self.matched and self.script.route == "untracked")


AROUND = ("_loop_", "_queue_", "thread", "background_task")
"""Parts of the names of families that depend on how busy the machine is."""


def modelled(found: Samples) -> Samples:
    """Return the families that the model knows."""
    return {name: all_ for name, all_ in found.items() if not any(part in name for part in AROUND)}


class Model:
    """Every family, by name and labels."""

    def __init__(self, leg: Leg, setup: Setup) -> None:
        self.leg, self.setup = leg, setup
        self.families: dict[str, Family] = {}
        self.testing = False
        self.is_quart = leg.name.startswith("quart")
        self.late_default = setup.default_labels == "late" and self.is_quart
        self.has_mood = setup.default_labels in ("callable", "late")
        tenant: dict[str, str] = {} if not setup.default_labels else {"tenant": "t1"}
        self.tenant = tenant
        self.families = modelled(samples(leg.registry))
        assert not any(map(any, (family.values() for family in self.families.values())))

    def samples(self) -> Samples:
        return {name: dict(family) for name, family in self.families.items() if family}

    def _add(self, name: str, amount: float, **labels: str) -> None:
        family = self.families.setdefault(name, {})
        key = frozenset(labels.items())
        family[key] = family.get(key, 0.0) + amount

    def _early(self, script: Script, *, again: bool = False) -> dict[str, str]:
        """Return the labels of a request in progress."""
        labels = {"method": _method(script), **self.tenant}
        if self.has_mood:
            fails = bool(script.label)
            labels["mood"] = "<error>" if fails else "calm"
            if fails and not again:
                self._error("flask_http_requests_in_progress", "mood")
        return labels

    def _error(self, metric: str, label: str) -> None:
        self._add("promweb_label_errors_total", 1.0, metric=metric, label=label)

    # --- the way of a request ------------------------------------------------------------------

    def begin(self, script: Script) -> Pending:
        """A request arrives."""
        pending = Pending(script, self.leg.clock.now)
        if script.hangs != "before":
            self.testing = script.testing
        if self._counts_in_progress(pending):
            self._add("flask_http_requests_in_progress", 1.0, **self._early(script))
        return pending

    def _counts_in_progress(self, pending: Pending) -> bool:
        is_seen = pending.script.route != "private" and not pending.untracked
        return self.setup.in_progress and is_seen

    def answer(self, pending: Pending) -> None:
        """The application has done all that it does before the body."""
        self.dispatch(pending)
        self.respond(pending)
        self.tear_down(pending)

    def hang(self, pending: Pending) -> None:
        """The application stays where the script says."""
        where = pending.script.hangs
        pending.hung = self.leg.clock.now
        if where == "view":
            pending.ran = True
            self._enter(pending)
        elif where != "before":
            self.dispatch(pending)
        if pending.failed or where in ("page", "label"):
            pending.testing = self.testing
        if where in ("teardown", "stream"):
            self.respond(pending)
        if where == "stream":
            self.tear_down(pending)

    def go_on(self, pending: Pending, waited: float) -> None:
        """The application goes on from where it stayed for some seconds."""
        where = pending.script.hangs
        if where in ("before", "view"):
            self.dispatch(pending)
        if where == "view":
            pending.worked += waited
        if where not in ("teardown", "stream"):
            self.respond(pending)
        if where != "stream":
            self.tear_down(pending)

    def cut(self, pending: Pending, status: int) -> None:
        """The client left (499) or the server shut down (500) while the application stays."""
        where = pending.script.hangs
        if where == "view":
            pending.worked = self.leg.clock.now - pending.hung
        raised = where == "page" or (where == "label" and pending.script.after == "raises")
        pending.failed = pending.failed or raised
        if where != "stream":
            pending.status, pending.streams = status, False
            pending.failed = pending.failed or status == 500
        if where not in ("teardown", "stream"):
            pending.seen = status
            self._label(pending)

    def dispatch(self, pending: Pending) -> None:
        """Run the hooks before, and the view."""
        script = pending.script
        if script.hangs == "before":
            self.testing = script.testing
        if script.before:
            pending.status = {"answers": 401, "aborts": 418, "handled": 409}.get(script.before, 0)
            pending.failed = script.before == "raises"
        elif not pending.matched:
            pending.status = 404 if script.route == "none" else 405
        elif script.method == "OPTIONS":
            pending.status = 200
        else:
            pending.ran = True
            self._view(pending)

    def _view(self, pending: Pending) -> None:
        script = pending.script
        if script.route == "generator":
            pending.status, pending.streams = 200, True
            pending.read = self.leg.clock.now
            return
        pending.worked = VIEW
        self._enter(pending)
        if script.helper == "raises" or script.view in ("aborts", "handled", "raises", "exits"):
            self._exit(pending)
        defaults = self._defaults("direct", script, awaits=False)
        self._add("direct_total", 2.0, route=script.route, **defaults)
        if script.helper:
            self._help(pending)
        if script.helper == "raises":
            pending.status = 409
            return
        pending.status = {"aborts": 418, "handled": 409}.get(script.view, script.status)
        pending.streams = script.view == "streams"
        pending.leaves = pending.exits = script.view == "exits"
        pending.failed = script.view in ("raises", "exits")

    def respond(self, pending: Pending) -> None:
        """Decide on the answer, and resolve the labels."""
        after = pending.script.after
        changed = {"changes": 203, "replaces": 202}.get(after)
        if not pending.failed:
            pending.status = changed or pending.status
            pending.failed = after == "raises"
            pending.streams = pending.streams and after != "replaces"
        if pending.failed and not pending.leaves:
            testing = self.testing if pending.testing is None else pending.testing
            pending.leaves = testing or self.setup.page == "raises"
            pending.status = changed or (503 if self.setup.page == "answers" else 500)
        if pending.leaves:
            pending.status = 500
        pending.streams = pending.streams and not pending.failed
        if not self.is_quart and not pending.has_body:
            pending.streams = False
        pending.seen = pending.status
        self._label(pending)

    def tear_down(self, pending: Pending) -> None:
        """Run the hooks at the end; one that raises spoils the answer."""
        if pending.script.teardown:
            pending.status, pending.failed, pending.leaves = 500, True, True
            pending.streams = False

    def _enter(self, pending: Pending) -> None:
        """Count the view in its gauge."""
        if pending.script.route == "timed" and not pending.busy:
            pending.busy = True
            self._add("busy", 1.0, mood="-", tenant="-")

    def _exit(self, pending: Pending) -> None:
        """Count the view no more: its call raised, or the request ended."""
        if pending.busy:
            pending.busy = False
            self._add("busy", -1.0, mood="-", tenant="-")

    def _help(self, pending: Pending) -> None:
        script = pending.script
        if script.route.startswith("hidden") or self._skips_decorators(script):
            return
        labels = {"value": "helped" if script.helper == "returns" else "<exception>"}
        self._add("helped_total", 1.0, **labels, **self._defaults("helped", script, awaits=False))

    def _defaults(self, metric: str, script: Script, *, awaits: bool = True) -> dict[str, str]:
        """Return the default labels, counting the errors of making them."""
        if not self.has_mood:
            return self.tenant
        fails = bool(script.label) or (self.late_default and not (awaits and self._awaits(script)))
        if fails:
            self._error(metric, "mood")
        return {**self.tenant, "mood": "<error>" if fails else "calm"}

    def _skips_decorators(self, script: Script) -> bool:
        return script.route == "private" and self.setup.excludes_decorators

    def chunk(self, pending: Pending) -> None:
        """A part of the stream was made and sent."""
        pending.chunks += 1
        pending.size += len(PART)
        if pending.chunks == 1:
            pending.read = self.leg.clock.now - CHUNK
            pending.first = self.leg.clock.now - pending.start

    def end(self, pending: Pending) -> None:
        """The last byte was sent, or would have been; record the request."""
        self._leave(pending)
        self._record(pending)

    def _leave(self, pending: Pending) -> None:
        script = pending.script
        if self._counts_in_progress(pending) and not pending.left:
            labels = self._early(script, again=True)
            self._add("flask_http_requests_in_progress", -1.0, **labels)
        pending.left = True
        self._exit(pending)

    def _label(self, pending: Pending) -> None:
        """Resolve the labels of everything that will be recorded."""
        script, labels = pending.script, pending.labels
        status = {"status": str(pending.seen)}
        if pending.hidden:
            return
        if pending.ran and not self._skips_decorators(script):
            names = METRICS.get(script.route, ())
            for name in (*names, *(("every",) if self.setup.registers_default else ())):
                labels[name] = {
                    **status,
                    **self._shaky(name, script),
                    **self._defaults(name, script),
                }
        if not pending.untracked:
            # Labels are resolved before anybody asks whether the path is excluded.
            defaults = self._defaults(DURATION, script)
            labels[DURATION] = {self.setup.group_by: self._group(pending), **defaults}

    def _record(self, pending: Pending) -> None:
        script = pending.script
        for name, labels in pending.labels.items():
            if name in ("time", "size", "parts"):
                seconds = self.leg.clock.now - pending.read if name == "parts" else pending.worked
                self._observe(name, seconds, labels)
            elif name != DURATION:
                self._add(f"{name}_total", 1.0, **labels)
            elif script.route != "private":
                self._record_defaults(pending, labels)

    def _shaky(self, name: str, script: Script) -> dict[str, str]:
        if name not in ("views", "late"):
            return {}
        awaited = name == "late" and self.is_quart
        fails = bool(script.label) or (awaited and not self._awaits(script))
        if fails:
            self._error(name, "shaky")
        labels = {"shaky": "<error>" if fails else "calm"}
        if not awaited:
            labels["path"] = script.path
        elif not self._awaits(script):
            self._error(name, "status")
            labels["status"] = "<error>"
        return labels

    def _awaits(self, script: Script) -> bool:
        """Tell whether coroutine labels can be awaited: not when the process ends."""
        return script.view != "exits" or not self._reaches_view(script)

    def _reaches_view(self, script: Script) -> bool:
        unhindered = not script.before and script.helper != "raises"
        return (
            unhindered
            and script.route not in ("none", "generator")
            and (script.method in ALLOWED and script.method != "OPTIONS")
        )

    def _record_defaults(self, pending: Pending, labels: dict[str, str]) -> None:
        script, seconds = pending.script, self.leg.clock.now - pending.start
        by_group = {"method": _method(script), "status": str(pending.status), **labels}
        by_status = {name: by_group[name] for name in by_group if name != self.setup.group_by}
        self._add("flask_http_request_total", 1.0, **by_status)
        if pending.failed:
            self._add("flask_http_request_exceptions_total", 1.0, **by_status)
        self._observe(DURATION, seconds, by_group)
        if self.setup.sizes:
            self._observe("flask_http_request_size_bytes", float(script.sent), by_group)
            size = float(pending.size if pending.has_body else 0)
            self._observe("flask_http_response_size_bytes", size, by_group)
            start = (pending.first if pending.has_body else 0.0) or seconds
            self._observe("flask_http_response_start_seconds", start, by_group)

    def _observe(self, name: str, amount: float, labels: dict[str, str]) -> None:
        self._add(f"{name}_count", 1.0, **labels)
        self._add(f"{name}_sum", amount, **labels)

    def _group(self, pending: Pending) -> str:
        script = pending.script
        if not pending.matched and self.setup.group_by != "shelf":
            return "<unmatched>"
        if self.setup.group_by == "path":
            return script.path
        if self.setup.group_by == "endpoint":
            return script.route
        if self.setup.group_by == "url_rule":
            return f"/{script.route}/<int:number>"
        if script.label:
            self._error(DURATION, "shelf")
            return "<error>"
        return f"shelf of {script.path}"

    # --- everything else -----------------------------------------------------------------------

    def job(self, how: str) -> None:
        """A decorated function was called outside of requests."""
        kind = "done" if how == "returns" else "<exception>"
        calm = Script()
        self._add("jobs_total", 1.0, kind=kind, **self._defaults("jobs", calm, awaits=False))

    def sell(self, kind: str, amount: float) -> None:
        """A counter was called directly."""
        self._add("sold_total", amount, kind=kind, **self._directly("sold"))

    def move(self, how: str, amount: float) -> None:
        """A gauge was set, or counted up or down."""
        key = {"mood": "-", "tenant": "-"}
        if how == "set":
            self.families["level"][frozenset(key.items())] = amount
        else:
            self._add("level", amount if how == "inc" else -amount, **key)

    def see(self, name: str, amount: float, **labels: str) -> None:
        """A histogram or a summary observed an amount; one with negative buckets has no sum."""
        found = {**labels, **self._directly(name)}
        self._add(f"{name}_count", 1.0, **found)
        if name != "amounts":
            self._add(f"{name}_sum", amount, **found)

    def misuse(self, metric: str, label: str) -> None:
        """An instrument was called wrongly."""
        self._error(metric, label)

    def _directly(self, metric: str) -> dict[str, str]:
        """Return the default labels of an instrument that is called outside of requests."""
        return self._defaults(metric, Script(), awaits=False)

    def connect(self, path: str) -> dict[str, str]:
        """A websocket was matched; return the labels of its group."""
        groups = {
            "path": path,
            "url_rule": f"{path[:-1]}<int:number>",
            "endpoint": path.split("/")[1],
            "shelf": f"shelf of {path}",
        }
        mood = {"mood": "calm"} if self.has_mood else {}
        return {self.setup.group_by: groups[self.setup.group_by], **self.tenant, **mood}

    def accept(self, group: dict[str, str], amount: float) -> None:
        """A websocket was accepted (1), or one that had been is closed (-1)."""
        self._add("flask_websocket_connections_in_progress", amount, **group)

    def message(self, group: dict[str, str], direction: str) -> None:
        self._add("flask_websocket_messages_total", 1.0, **group, direction=direction)

    def disconnect(self, group: dict[str, str], code: int, start: float) -> None:
        labels = {**group, "close_code": str(code)}
        seconds = self.leg.clock.now - start
        self._observe("flask_websocket_connection_duration_seconds", seconds, labels)

    def leave(self, status: str) -> None:
        """The view of a websocket ended."""
        if self.setup.registers_default:
            self._add("every_total", 1.0, status=status, **self._defaults("every", Script()))

    def scrape(self) -> None:
        """A scrape runs the hooks, with the script that does nothing."""
        self.testing = False


def _method(script: Script) -> str:
    return "<other>" if script.method == "BREW" else script.method
