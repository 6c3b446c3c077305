"""Common mistakes of new users, and messages that explain them.

It knows frameworks only by name: the module of an object's class.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar, cast
from weakref import ref

from .decorators.inert import INERT
from .decorators.instrument import Instrument, check_decorates
from .decorators.remembered import remembered
from .families.problems import Problems
from .requests.scope import taken
from .requests.views import innermost

__all__ = [
    "BELOW",
    "called_first",
    "check_decorators",
    "explain_app",
    "explained",
    "misplaced",
    "series_by_path",
    "unknown",
    "warn_of_route",
    "warn_of_routes",
]

F = TypeVar("F", bound=Callable[..., Any])

_OTHER_FRAMEWORKS = ("aiohttp", "bottle", "django", "falcon", "fastapi", "sanic", "starlette")


NO_APP = "pass the application, or use for_app_factory() and call init_app(app) later"


def explain_app(app: object, framework: str, other: str) -> str:
    """Explain why an object is not an application of `framework`, and what to do.

    `other` is the advice for an application of the other framework.
    """
    kind = type(app)
    module = (kind.__module__ or "").partition(".")[0]
    if app is None:
        return f"None; {NO_APP}"
    if isinstance(app, types.ModuleType):
        found = [name for name, value in vars(app).items() if type(value).__name__ == framework]
        return (
            f"the module {app.__name__!r}; pass the application in it, as in "
            f"{app.__name__}.{found[0] if found else 'app'}"
        )
    if isinstance(app, type):
        return f"the class {app.__name__}; pass an application, as in app = {framework}(__name__)"
    if isinstance(app, types.FunctionType):
        return f"the function {app.__name__!r}; call it and pass the application that it returns"
    if isinstance(app, types.MethodType):
        return f"the method {app.__name__!r}; pass the application itself"
    if isinstance(app, str):
        return f"the text {app!r}; pass the object itself"
    if kind.__name__ == "Blueprint":
        return "Blueprint; pass the application that it is registered with, which has its routes"
    if module == "connexion":
        return f"{kind.__name__} of Connexion; use ConnexionPrometheusMetrics"
    if module in _OTHER_FRAMEWORKS:
        return f"{kind.__name__} of {module}; promweb measures Flask and Quart"
    if kind.__name__ == "LocalProxy":
        return "LocalProxy outside of an application context; pass the application itself"
    return f"{kind.__name__}; {other}"


def called_first(example: str) -> Callable[[F], F]:
    """Make a method that returns a decorator explain its use as the decorator itself."""

    def decorator(method: F) -> F:
        own = 1 if method.__code__.co_varnames[:1] == ("self",) else 0
        checked = explained(method)

        @wraps(method)
        def called(*args: Any, **kwargs: Any) -> Any:
            if len(args) == own + 1 and callable(args[own]) and not kwargs:
                name = getattr(args[own], "__name__", repr(args[own]))
                raise TypeError(
                    f"{method.__name__} got the function {name!r} and no arguments: it returns a "
                    f"decorator, so write @metrics.{example} above the function"
                )
            return checked(*args, **kwargs)

        return cast(F, called)

    return decorator


def explained(method: F) -> F:
    """Make a method explain wrong arguments in the words of the caller."""
    signature = inspect.signature(method)

    @wraps(method)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            where = method.__name__
            if where == "__init__":
                where = type(args[0]).__name__
            elif "description" in signature.parameters and len(args) > 1:
                where = f"{where} {args[1]!r}"
            names = [name for name in signature.parameters if name != "self"]
            wrong = next((name for name in kwargs if name not in names), "")
            why = unknown(wrong, names) if wrong else str(error)
            if method.__name__ == "__init__" and why.endswith("required argument: 'app'"):
                why += f"; {NO_APP}"
            raise TypeError(f"{where}: {why}") from None
        return method(*args, **kwargs)

    return cast(F, checked)


def unknown(argument: str, names: Iterable[str]) -> str:
    """Return a message about an unknown argument, with the nearest existing name."""
    near = get_close_matches(argument, names, cutoff=0.5)
    return f"there is no argument {argument!r}" + (f"; did you mean {near[0]!r}?" if near else "")


BELOW = "Put it below the route decorator."
"""The advice about a misplaced decorator."""


def misplaced(views: Mapping[str, object]) -> Iterator[str]:
    """Describe the decorators that are above the route, which has the function without them.

    Only certain cases count: the route has a function below the decorator, and either the decorator
    stands above its definition, or its name in the module refers to the decorated one.
    """
    for endpoint, view in {id(view): (name, view) for name, view in views.items()}.values():
        for decoration in remembered(view):
            function: Any = innermost(view)
            module = sys.modules.get(getattr(function, "__module__", ""))
            named = getattr(module, getattr(function, "__name__", ""), None)
            if decoration.is_above or (named is not None and named is decoration.decorated()):
                yield (
                    f"{decoration.what} is above the route of "
                    f"{function.__module__}.{function.__qualname__}, so the endpoint {endpoint!r} "
                    "has the function without it."
                )


def warn_of_routes(
    sites: list[ref[Any]], path: str | None, problems: Problems, groups_unasked: bool
) -> None:
    """Log which decorators no route has, and which route hides the metrics; each once.

    With `groups_unasked` also log which routes make a series for each path. This removes the sites
    from the list.
    """
    for get_site in taken(sites):
        site = get_site()
        if site is None:  # the application is gone
            continue
        try:
            for message in misplaced(site.app.view_functions):
                problems.warn(f"{message} {BELOW}")
            if path:
                warn_of_route(site, path, problems)
            for message in series_by_path(site) if groups_unasked else ():
                problems.warn(message)
        except Exception:
            problems.failed("look at the views")


def warn_of_route(site: Any, path: str, problems: Problems) -> None:
    """Log that the application has its own route at a path that promweb serves.

    The first of two routes with one path answers.
    """
    app = site.app
    if app.url_map.host_matching:  # one host may have a route there on purpose
        return
    rules = [
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.rule == path and not rule.subdomain and "GET" in (rule.methods or ("GET",))
    ]
    own = [endpoint for endpoint in rules if endpoint not in site.endpoints]
    if own:
        first = "which answers in place of" if rules[0] == own[0] else "which is hidden behind"
        problems.warn(
            f"path={path!r}: the application has a route of its own there, the endpoint "
            f"{own[0]!r}, {first} promweb's. Give one of the two another path."
        )


def series_by_path(site: Any) -> Iterator[str]:
    """Say that the default metrics have a series for each value of a variable part, if one has."""
    for rule in site.app.url_map.iter_rules():
        is_static = rule.endpoint.rpartition(".")[2] == "static"  # which the frameworks add
        if rule.arguments and rule.endpoint not in site.endpoints and not is_static:
            yield (
                f"The route {rule.rule!r} makes a series for each of its paths, because group_by "
                "is 'path' by default. Write group_by=\"url_rule\" to have one series for each "
                'route, or group_by="path" if you want this.'
            )
            return


def check_decorators(decorators: Iterable[object], owner: type) -> None:
    """Raise TypeError or ValueError for objects that `register_default` cannot put around views."""
    for decorator in decorators:
        if isinstance(decorator, Instrument) and decorator is not INERT:
            check_decorates(decorator)
        if not callable(decorator):
            raise TypeError(
                "register_default takes decorators, as in "
                f"register_default(metrics.counter(...)), not {decorator!r}"
            )
        if isinstance(getattr(decorator, "__self__", None), owner):
            name = getattr(decorator, "__name__", "")
            raise TypeError(
                f"register_default got {name} itself; call it, as in "
                f"register_default(metrics.{name}('name', 'description'))"
            )
