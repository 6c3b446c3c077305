"""The group of a request: its route, or another attribute that `group_by` names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from operator import attrgetter
from typing import Any

from ..families.problems import Problems
from ..labels.callables import is_coroutine_function, takes_argument
from ..labels.plan import ERROR
from ..names import check_label_name, label_problems
from ..options import GroupBy
from ..requests.scope import get_scope
from ..requests.unseen import MIDDLEWARE, UnseenRequest

__all__ = ["UNMATCHED", "Grouping", "check_attribute"]

UNMATCHED = "<unmatched>"
"""The group of every request that no route matched (404, 405, slash redirects)."""


# Attributes of known type: some are text already, and a Rule becomes its pattern.
_ATTRIBUTES: dict[str, Callable[[Any], str]] = {
    "path": attrgetter("path"),
    "endpoint": attrgetter("endpoint"),
    "url_rule": attrgetter("url_rule.rule"),
}


class Grouping:
    """How `group_by` names and computes the group.

    An attribute is read from the request by `attribute`; a function runs in the request context
    and is therefore a label callable, `call`, like any other. `label` is the name if `group_by`
    does not choose it, and `unmatched` the group of requests that no route matched.
    """

    __slots__ = ("attribute", "call", "middleware", "name", "unmatched")

    def __init__(
        self, group_by: GroupBy, label: str | None = None, unmatched: str = UNMATCHED
    ) -> None:
        self.unmatched = unmatched
        self.middleware = MIDDLEWARE if unmatched else ""
        name = group_by if isinstance(group_by, str) else getattr(group_by, "__name__", None)
        where = f"group_by={group_by!r}"
        if not isinstance(group_by, str) and not callable(group_by):
            raise TypeError(
                f"{where}: must be the name of a request attribute, or a function of the request"
            )
        if name is None or name == "<lambda>":
            raise ValueError(
                f"{where}: invalid label {name!r}: the name of the function becomes the label's "
                "name; define it with `def`, as in `def tenant(request): ...`"
            )
        self.name = label or name
        if isinstance(group_by, str) and not group_by.isidentifier():
            check_label_name(group_by, where)
        label_problems([self.name], where)
        if self.name in ("method", "status"):
            raise ValueError(f"{where}: the default metrics have a label {name!r} already")
        self.attribute: Callable[[Any], str] | None = None
        self.call: Callable[[], object] | None = None
        if isinstance(group_by, str):
            self.attribute = _ATTRIBUTES.get(group_by) or _read_as_text(group_by)
        else:
            if not takes_argument(group_by, where):
                raise ValueError(f"{where}: must take one argument, the request")
            self.call = _of_current_request(group_by)

    def reader(self, metric: str, problems: Problems) -> Callable[[Any], str] | None:
        """Return a function that reads the group of a request or a websocket, and never raises.

        None if the group is a label callable.
        """
        read, unmatched, name = self.attribute, self.unmatched, self.name
        if read is None:
            return None

        def group(request: Any) -> str:
            if request.url_rule is None:
                return self.middleware if isinstance(request, UnseenRequest) else unmatched
            try:
                return read(request)
            except Exception:
                problems.label_error(metric, name)
                return ERROR

        return group


_MEANT_RULE = ("handler", "pattern", "route", "rule", "template")
"""Names that other libraries have for the rule of a route."""


def check_attribute(group_by: GroupBy, request_class: type) -> None:
    """Raise ValueError if requests have no such attribute.

    A program may have a request class of its own, with more attributes.
    """
    if not isinstance(group_by, str):
        return
    names = set(_attributes(request_class))
    if group_by in names:
        if _is_call(getattr(request_class, group_by, None)):
            raise ValueError(
                f"group_by={group_by!r}: {group_by!r} of a {request_class.__name__} is not a value "
                "but has to be called or awaited; pass a function of the request"
            )
        return
    near = get_close_matches(group_by, [name for name in names if not name.startswith("_")])
    near = ["url_rule"] if group_by in _MEANT_RULE else near
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(
        f"group_by={group_by!r}: {hint}{request_class.__name__} has no attribute {group_by!r}. For "
        "an attribute that a hook sets, pass a function of the request, as in "
        f"`def tenant(request): return request.{group_by}`"
    )


def _is_call(attribute: object) -> bool:
    getter: Any = getattr(attribute, "fget", None)
    return inspect.isfunction(attribute) or is_coroutine_function(getter)


def _attributes(request_class: Any) -> Iterator[str]:
    """Yield the attributes of a class and of those that derive from it, or that they set."""
    yield from dir(request_class)
    for cls in request_class.__mro__:
        made = getattr(vars(cls).get("__init__"), "__code__", None)
        yield from getattr(made, "co_names", ())
    for derived in request_class.__subclasses__():
        yield from _attributes(derived)


def _read_as_text(name: str) -> Callable[[Any], str]:
    read = attrgetter(name)
    return lambda request: str(read(request))


def _of_current_request(function: Callable[[Any], Any]) -> Callable[[], object]:
    if is_coroutine_function(function):

        async def group_async() -> object:
            return await function(_request())

        return group_async
    return lambda: function(_request())


def _request() -> Any:
    scope = get_scope()
    assert scope is not None, "labels are resolved within their scope"
    return scope.request
