"""A program with an extension, and the requests to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal

__all__ = ["HEAR", "ORDERS", "Answer", "Extension", "Extensions", "Order", "Visit"]

Order = Literal["before", "after"]
"""When promweb is attached: before the extension, or after it."""

ORDERS: tuple[Order, ...] = ("before", "after")


@dataclass(frozen=True)
class Answer:
    """The part of an answer that a client sees."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str


Headers = Mapping[str, str] | Callable[[Sequence[Answer]], Mapping[str, str]]
"""Headers of a request, or a function that makes them from the answers so far."""


@dataclass(frozen=True)
class Visit:
    """A request, its right status, and whether it counts as an exception."""

    path: str
    status: int = 200
    method: str = "GET"
    raises: bool = False
    headers: Headers = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] | None = None
    talk: Sequence[str] = ()
    """The messages of a websocket, in order; `HEAR` stands for one that the application sends."""
    outside: bool = False
    """Whether middleware of the extension answers: promweb sees that if it is attached later."""
    counted: bool = False
    """Whether the view has the program's own counter."""


HEAR = "<hear>"

Program = Callable[[Any, Callable[[Any], Any]], list[Visit]]
"""Uses the extension on an application, and a decorator that counts calls of a view."""


@dataclass(frozen=True, eq=False)
class Extension:
    """An extension, a program that uses it, and the differences between any two runs."""

    name: str
    program: Program
    app_class: Any
    hides: str = ""
    """A pattern of what is random or a time in bodies and headers."""
    ignored_headers: frozenset[str] = frozenset()
    is_served: bool = False
    """Whether a server has to serve it, because it takes the server's socket."""

    @property
    def driven(self) -> str:
        return " ".join(str(self.program.__doc__).split()).rstrip(".")

    @property
    def version(self) -> str:
        return version(self.name)


class Extensions(list[Extension]):
    """The programs of one framework."""

    def __init__(self, app_class: Any) -> None:
        self._app_class = app_class

    def add(self, name: str, **options: Any) -> Callable[[Program], Program]:
        """Return a decorator that adds a program; its docstring lists the features that it uses."""

        def decorator(program: Program) -> Program:
            self.append(Extension(name, program, **{"app_class": self._app_class, **options}))
            return program

        return decorator
