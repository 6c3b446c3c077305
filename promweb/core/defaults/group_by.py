"""The group of a request: which route, or what else the default metrics are grouped by."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from ..labels.plan import is_coroutine_function, takes_argument
from ..options import GroupBy, check_label_name
from ..requests.scope import current
from ..requests.unseen import MIDDLEWARE

__all__ = ["UNMATCHED", "Grouping"]

UNMATCHED = "<unmatched>"
"""The group of every request that no route matched (404, 405, slash redirects)."""


# Those that are text already; a Rule is shown as its pattern.
_ATTRIBUTES: dict[str, Callable[[Any], str]] = {
    "path": attrgetter("path"),
    "endpoint": attrgetter("endpoint"),
    "url_rule": attrgetter("url_rule.rule"),
}


class Grouping:
    """How `group_by` names and computes the group.

    An attribute is read from the request by `attribute`; a function runs in the request context
    and is therefore a label callable, `call`, like any other. `label` is the name where that is
    not for `group_by` to choose, and `unmatched` the group of what no route matched.
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
        self.name = check_label_name(label or name, where)
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
    scope = current.get()
    assert scope is not None, "labels are resolved within their scope"
    return scope.request
