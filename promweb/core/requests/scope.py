"""The common part of an HTTP request and a websocket connection; decorators use it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import Context, ContextVar, copy_context
from typing import Any, Protocol, TypeVar

from ..families.children import NumberChild
from ..families.limits import LabelValues
from ..labels.callables import exception_class
from ..labels.plan import LabelPlan
from .site import Site
from .steps import Steps
from .unseen import UnseenRequest

__all__ = [
    "BEGUN",
    "Measurement",
    "Scope",
    "get_scope",
    "is_begun",
    "reset_scope",
    "set_scope",
    "taken",
]

T = TypeVar("T")

_current: ContextVar[Any] = ContextVar("promweb_scope", default=None)
"""The request or connection that the running code belongs to, or None."""

# To look a method up costs as much as to call it.
get_scope, set_scope, reset_scope = _current.get, _current.set, _current.reset

BEGUN = "promweb.begun"
"""The key in the server's environment or scope that has the scope of an outer layer."""


def is_begun(site: Site, given: Mapping[str, Any]) -> bool:
    """Return whether an outer layer has begun the request that reaches `site` now.

    A request that another application has begun and not dispatched belongs to this one from now on.
    """
    outer: Scope | None = given.get(BEGUN)
    if outer is None or outer.request is not None or not outer.unfinished:
        return False
    if outer.site is site:
        return True
    outer.unseen = None
    return False


def taken(items: list[T]) -> list[T]:
    """Remove the items of a list and return them, the oldest first; each goes to one thread."""
    found: list[T] = []
    while items:
        try:
            found.append(items.pop(0))
        except IndexError:  # another thread took the last one
            break
    return found


class Measurement(Protocol):
    """A decorated view's measurement, which waits for the final response."""

    plan: LabelPlan
    values: LabelValues | None
    """The label values, once the final response exists."""

    def flush(self) -> None:
        """Record; a measurement that still runs (an abandoned stream) ends now."""


class Scope:
    """One request or connection: its start, its request, and its exclusions."""

    # Class attributes are the defaults of what few requests set or read.
    raised: type[BaseException] | None = None
    """The class of the last exception of this scope, even if it was answered.

    The exception itself would keep the frames that it went through.
    """
    unseen: UnseenRequest | None = None
    """The request to record if middleware answers; None if there is no middleware."""
    steps: Steps | None = None
    """The steps of this scope's code in the event loop; None unless someone asks for them."""
    context: Context | None = None
    """The request context, for labels that are resolved after the code in it has ended."""

    def __init__(self, site: Site) -> None:
        clock = site.clock  # Python 3.11 is slow to call an attribute that is not a method
        self.site = site
        self.start = clock()
        self.request: Any = None
        """The framework's request or websocket, once the application's dispatch was reached."""
        self.response: Any = None
        """The final response of an HTTP request, once it exists; an empty one if only labels need
        it."""
        self.status = 0
        """The final status of an HTTP request, 0 while there is none."""
        self.sent = 0
        """The status that went out; 0 before that, or if promweb cannot see it."""
        self.tracked = True
        """False once `do_not_track` was called: the default metrics omit this scope."""
        self.excluded = False
        """True once `exclude_all_metrics` was called: every metric omits this scope. Then `tracked`
        is False."""
        self.in_progress: list[NumberChild] | None = None
        """The gauges that go down when this scope ends; None until there is one."""
        self._deferred: list[Measurement] = []
        """The measurements that wait for the final response."""
        self.unfinished = [True]
        """The thread that removes this item ends the scope: a server may close a body in one
        thread while another one still reads it."""

    def __deepcopy__(self, memo: object) -> Scope:
        """Stay the same object when middleware copies the server's environment or scope."""
        return self

    def is_answered_by(self, target: object) -> bool:
        """Return whether `target` answers this request: its view, or an error handler."""
        return False

    def defer(self, measurement: Measurement, target: object) -> bool:
        """Keep the measurement of `target` until the final response exists, if it answers.

        Return whether it was kept; then ending the scope records it.
        """
        return False

    def hold(self, child: NumberChild) -> None:
        """Make a gauge go down when this scope ends."""
        if self.in_progress is None:
            self.in_progress = []
        self.in_progress.append(child)
        if not self.unfinished:  # in another thread, meanwhile
            self.leave()

    def do_not_track(self) -> None:
        """Exclude this scope from the default metrics, those of requests in progress included."""
        self.tracked = False
        self.leave()

    def exclude_all(self) -> None:
        """Exclude this scope from every metric."""
        self.excluded = True
        self.do_not_track()

    def keep_context(self) -> None:
        """Keep the context of the running code, which refers to this scope until it ends."""
        if self.context is None:
            self.context = copy_context()

    def see_exception(self) -> None:
        """Note the class of the exception that is being handled."""
        self.raised = exception_class(sys.exc_info()[1]) or self.raised

    def record_steps(self) -> None:
        """Record what the code did in the event loop since the last time, and begin again."""

    def leave(self) -> None:
        """Count as in progress no longer."""
        for child in taken(self.in_progress or []):
            try:
                child.dec()
            except Exception:
                self.site.problems.failed("count a request as over")
