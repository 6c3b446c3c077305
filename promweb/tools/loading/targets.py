"""Loading an application by name, as `flask --app` and `quart --app` do, to inspect it.

A target is a module or a file, and after a colon the application or a function that makes it, with
arguments. Failures raise `LoadError`, which names the line in the user's own code.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["LoadError", "find", "is_application", "place"]

_PROMWEB = str(files("promweb")) + os.sep
_USUAL, _MAKERS = ("app", "application"), ("create_app", "make_app")
_LISTED = 8


class LoadError(Exception):
    """The application cannot be found or made."""


def find(target: str) -> Any:
    """Return the application that a target names; exceptions of user code pass through."""
    path, name = ([*re.split(r":(?![\\/])", target, maxsplit=1), ""])[:2]
    module = _import(path)
    return _named(module, name.strip()) if name.strip() else _best(module)


def is_application(thing: Any) -> bool:
    """Tell whether something is an application, or wraps one as Connexion does."""
    try:
        return any(
            hasattr(one, "url_map") and hasattr(one, "extensions")
            for one in (thing, getattr(thing, "app", None))
        )
    except Exception:  # a proxy such as `flask.request` raises outside of a request
        return False


def place(fault: BaseException) -> tuple[str, str]:
    """Return where an exception comes from, in the user's code if possible: file, line, code."""
    if isinstance(fault, SyntaxError) and fault.filename:
        return f"{fault.filename}, line {fault.lineno}", (fault.text or "").strip()
    frames = traceback.extract_tb(fault.__traceback__)
    here = os.getcwd() + os.sep
    others = [f for f in frames if not f.filename.startswith((_PROMWEB, "<frozen"))]
    own = [f for f in others if f.filename.startswith(here) and "site-packages" not in f.filename]
    where = (own or others or frames)[-1]
    return f"{where.filename}, line {where.lineno}", (where.line or "").strip()


def is_from_promweb(fault: BaseException) -> bool:
    """Tell whether promweb itself raised an exception because of a line of the user."""
    frames = traceback.extract_tb(fault.__traceback__)
    others = [f for f in frames if not f.filename.startswith(_PROMWEB)]
    return bool(others) and frames[-1].filename.startswith(_PROMWEB)


def _import(path: str) -> ModuleType:
    directory, name = _as_module(path)
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module exists, and one that it imports is missing
        raise LoadError(
            f"No module named {error.name!r} in {directory}. {_there(directory, error.name)}"
        ) from None


def _as_module(path: str) -> tuple[str, str]:
    """Return the directory to import from, and the module's name; `path` may be a file."""
    location = Path(os.path.realpath(path))
    if location.suffix == ".py":
        location = location.with_suffix("")
    if location.name == "__init__":
        location = location.parent
    names = [location.name]
    while (location.parent / "__init__.py").exists():
        location = location.parent
        names.append(location.name)
    return str(location.parent), ".".join(reversed(names))


def _there(directory: str, wanted: str) -> str:
    found = {path.stem for path in Path(directory).glob("*.py") if path.stem.isidentifier()}
    found |= {path.parent.name for path in Path(directory).glob("*/__init__.py")}
    return _said("There is", found, wanted) or "There are no modules of yours."


def _best(module: ModuleType) -> Any:
    """Return the application of a module by Flask's rules, for a target without a name."""
    for name in _USUAL:
        if is_application(getattr(module, name, None)):
            return getattr(module, name)
    found = {n: thing for n, thing in vars(module).items() if is_application(thing)}
    if len({id(thing) for thing in found.values()}) > 1:
        raise LoadError(
            f"{module.__name__} has several applications: {', '.join(sorted(found))}. Write which, "
            f"as in {module.__name__}:{min(found)}"
        )
    if found:
        return next(iter(found.values()))
    for name in _MAKERS:
        if inspect.isfunction(getattr(module, name, None)):
            return _call(module, name, name, (), {})
    raise LoadError(
        f"{module.__name__} ({module.__file__}) has no application. {_names(module, '')}".strip()
    )


def _named(module: ModuleType, text: str) -> Any:
    """Return the object with that name, or what the function with that name makes."""
    try:
        expression = ast.parse(text, mode="eval").body
        is_call = isinstance(expression, ast.Call)
        name = ast.unparse(expression.func if isinstance(expression, ast.Call) else expression)
        args, kwargs = _arguments(expression)
    except (SyntaxError, ValueError):
        name, is_call, args, kwargs = text, False, [], {}
    if not all(part.isidentifier() for part in name.split(".")):
        raise LoadError(
            f"{text!r} is neither a name nor a call with literal arguments; write for example app "
            "or create_app('test')"
        )
    thing: Any = module
    for part in name.split("."):
        if not hasattr(thing, part):
            there = _names(module, part) if thing is module else ""
            raise LoadError(
                f"{module.__name__} ({module.__file__}) has no {name!r}. {there}".strip()
            )
        thing = getattr(thing, part)
    if is_call or inspect.isfunction(thing):
        return _call(module, name, text, args, kwargs)
    return thing


def _arguments(expression: ast.expr) -> tuple[list[Any], dict[str, Any]]:
    if not isinstance(expression, ast.Call):
        return [], {}
    given = {word.arg: ast.literal_eval(word.value) for word in expression.keywords if word.arg}
    return [ast.literal_eval(one) for one in expression.args], given


def _call(
    module: ModuleType, name: str, text: str, args: Iterable[Any], kwargs: dict[str, Any]
) -> Any:
    thing: Any = module
    for part in name.split("."):
        thing = getattr(thing, part)
    if isinstance(thing, FunctionType):
        signature = inspect.signature(thing)
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            code = thing.__code__
            raise LoadError(
                f"{name}{signature} in {code.co_filename}, line {code.co_firstlineno}, cannot be "
                f"called as {text}: {error}. Write its arguments, as in "
                f"{module.__name__}:{name}('test')"
            ) from None
    made = thing(*args, **kwargs)
    if inspect.iscoroutine(made):
        made.close()
        raise LoadError(f"{name} is a coroutine function; only a plain one can make an application")
    return made


def _names(module: ModuleType, wanted: str) -> str:
    """Return a hint with the applications and functions that the module defines."""
    found = {
        name
        for name, thing in vars(module).items()
        if is_application(thing)
        or (inspect.isfunction(thing) and thing.__module__ == module.__name__)
    }
    return _said("It has", found, wanted)


def _said(words: str, names: set[str], wanted: str) -> str:
    near = get_close_matches(wanted, names, _LISTED)
    ordered = [*near, *sorted(names - set(near))]
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return f"{words} {', '.join(ordered[:_LISTED])}{more}." if ordered else ""
