"""Label callables that read the request and give few values.

    labels={"client": from_header("X-Client", allowed=["app", "web"]), "error": exception_type()}

Use them like any label callable: in `labels` of every decorator and in `default_labels`, on Flask
and on Quart. They read the request that promweb measures, not the framework's proxy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .core.labels.callables import ArgumentLabel, OutcomeLabel
from .core.labels.plan import plain
from .core.requests.scope import get_scope

__all__ = [
    "exception_type",
    "from_argument",
    "from_cookie",
    "from_header",
    "from_response_header",
    "from_view_arg",
]

_OTHER = "<other>"


def from_header(
    name: str, *, allowed: Iterable[object] | None = None, default: str = _OTHER
) -> Callable[[], str]:
    """Return a label callable for a header of the request; its name is case-insensitive.

    A value that is not `allowed`, a missing header and a call outside of a request give `default`.
    Without `allowed`, clients choose the values, and only `max_series` bounds them. Raises
    TypeError if an argument has the wrong type, and ValueError if `allowed` is empty.

        labels={"client": from_header("X-Client", allowed=["app", "web"])}
    """
    return _reader("from_header", name, allowed, default, lambda request: request.headers.get(name))


def from_cookie(
    name: str, *, allowed: Iterable[object] | None = None, default: str = _OTHER
) -> Callable[[], str]:
    """Return a label callable for a cookie of the request; otherwise like `from_header`.

    For example:

        labels={"plan": from_cookie("plan", allowed=["free", "pro"], default="none")}
    """
    return _reader("from_cookie", name, allowed, default, lambda request: request.cookies.get(name))


def from_view_arg(
    name: str, *, allowed: Iterable[object] | None = None, default: str = _OTHER
) -> Callable[[], str]:
    """Return a label callable for a variable part of the URL: `name` in the route `/shop/<name>`.

    It converts the value to text first. A request whose route has no such part gives `default`;
    otherwise it is like `from_header`.

        labels={"shop": from_view_arg("shop", allowed=["north", "south"])}
    """
    return _reader(
        "from_view_arg", name, allowed, default, lambda request: (request.view_args or {}).get(name)
    )


def from_response_header(
    name: str, *, allowed: Iterable[object] | None = None, default: str = _OTHER
) -> Callable[[object], str]:
    """Return a label callable for a header of the final response.

    Anything but a response, such as the return value of a helper function, gives `default`;
    otherwise it is like `from_header`. A gauge cannot have it.

        labels={"cache": from_response_header("X-Cache", allowed=["hit", "miss"])}
    """
    choose = _chooser(f"from_response_header({name!r})", name, allowed, default)

    def value(response: object) -> str:
        headers: Any = getattr(response, "headers", None)
        return choose(None if headers is None else headers.get(name))

    value.__qualname__ = value.__name__ = "from_response_header"
    return value


def from_argument(
    name: str, *, allowed: Iterable[object] | None = None, default: str = _OTHER
) -> Callable[[], str]:
    """Return a label callable for an argument of the decorated function, by its parameter's name.

    It finds the argument however it was passed, or the parameter's default value, and converts it
    to text. Decorating a function without such a parameter raises ValueError; so does using it in
    `default_labels`, because the default metrics have no arguments. A call without the argument
    gives `default`; otherwise it is like `from_header`.

        @metrics.histogram("query_seconds", "Queries", labels={"table": from_argument("table")})
        def query(table, limit=10): ...
    """
    return _Argument(name, _chooser(f"from_argument({name!r})", name, allowed, default), default)


class _Argument(ArgumentLabel):
    def __init__(self, name: str, choose: Callable[[object], str], default: str) -> None:
        self.name = name
        self._choose = choose
        self._default = default

    def text(self, value: object) -> str:
        return self._choose(value)

    def missing(self) -> str:
        return self._default

    def __repr__(self) -> str:
        return f"from_argument({self.name!r})"


def exception_type() -> Callable[[object], str]:
    """Return a label callable for the class of the exception that was raised, "" if none was.

    For a view and for the default metrics this is the last exception of the request before its
    response existed, even if an error handler answered it; `abort()` raises `NotFound` and the
    like. For another function it is the exception that left the function. A gauge cannot have it.

        labels={"error": exception_type()}
    """
    return _ExceptionType()


class _ExceptionType(OutcomeLabel):
    def __call__(self, outcome: object) -> str:
        scope: Any = get_scope()
        # The request's response is the outcome of its view only.
        response = getattr(scope, "response", None)  # a websocket connection has none
        if response is None or response is not outcome or scope.raised is None:
            return ""
        return self.raised(scope.raised)

    def raised(self, error: type[BaseException]) -> str:
        return error.__name__

    def __repr__(self) -> str:
        return "exception_type()"


def _reader(
    what: str,
    name: str,
    allowed: Iterable[object] | None,
    default: str,
    read: Callable[[Any], object],
) -> Callable[[], str]:
    choose = _chooser(f"{what}({name!r})", name, allowed, default)

    def value() -> str:
        scope = get_scope()
        return default if scope is None or scope.request is None else choose(read(scope.request))

    value.__qualname__ = value.__name__ = what
    return value


def _chooser(
    where: str, name: str, allowed: Iterable[object] | None, default: str
) -> Callable[[object], str]:
    """Return a function that turns a value, or None if there is none, into an allowed value."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"{where}: the name must be text")
    if not isinstance(default, str):
        raise TypeError(f"{where}: default={default!r} must be text")
    values = None if allowed is None else _values(where, allowed)

    def choose(found: object) -> str:
        if found is None:
            return default
        text = found if type(found) is str else plain(found)
        return text if values is None or text in values else default

    return choose


def _values(where: str, allowed: Iterable[object]) -> frozenset[str]:
    if isinstance(allowed, (str, bytes)) or not isinstance(allowed, Iterable):
        raise TypeError(f"{where}: allowed={allowed!r} must be a list or a set of values")
    values = frozenset(map(plain, allowed))
    if not values:
        raise ValueError(f"{where}: allowed is empty, so every value would be the default")
    return values
