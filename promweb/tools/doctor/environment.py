"""Checks the environment: the variable of multiprocess mode, and the number of workers."""

from __future__ import annotations

import argparse
import ast
import configparser
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from ...core.families.storage import DIRECTORY_VARIABLE
from .findings import Findings, ok, warning

__all__ = ["check_mode", "check_variable"]


def check_variable(environ: Mapping[str, str]) -> Findings:
    """Check how the variable of multiprocess mode is written."""
    deprecated = DIRECTORY_VARIABLE.lower()
    if not environ.get(DIRECTORY_VARIABLE) and environ.get(deprecated):
        yield warning(
            "variable",
            f"The variable is written {deprecated}.",
            "prometheus_client has deprecated that spelling, and other programs may not know it.",
            f"Write it {DIRECTORY_VARIABLE}.",
        )
    if environ.get(DIRECTORY_VARIABLE) == "" and not environ.get(deprecated):
        yield warning(
            "variable",
            f"{DIRECTORY_VARIABLE} is set to an empty string.",
            "To promweb that means off. prometheus_client's own metrics use the current directory, "
            "and write files there that nothing reads.",
            "Name a directory, or unset the variable.",
        )
    path = environ.get(DIRECTORY_VARIABLE) or environ.get(deprecated)
    if path and not os.path.isabs(path):
        yield warning(
            "variable",
            f"{DIRECTORY_VARIABLE} is the relative path {path!r}.",
            "Processes with different working directories would not share it.",
            "Make it an absolute path.",
        )


def check_mode(environ: Mapping[str, str], where: Path, *, is_shared: bool) -> Findings:
    """Check that several workers share their metrics; `where` has the servers' configuration."""
    if is_shared:
        yield ok("workers", "Multiprocess mode is on: workers share their metrics.")
        return
    asked = list(_asked_for(environ, where))
    for source in asked:
        yield warning(
            "workers",
            f"{source}, but multiprocess mode is off.",
            "Each worker has its own numbers, and a scrape shows those of the worker that happens "
            "to answer: counters seem to jump.",
            f"Set {DIRECTORY_VARIABLE} to a directory of its own, which promweb creates and "
            "cleans, before the server starts, or call promweb.multiprocess.enable() before "
            "metrics are made.",
        )
    if not asked:
        yield ok(
            "workers",
            "In this environment multiprocess mode is off, and nothing starts several workers.",
        )


def _asked_for(environ: Mapping[str, str], where: Path) -> Iterator[str]:
    """Yield each setting that starts several workers."""
    for name in ("WEB_CONCURRENCY", "GRANIAN_WORKERS", "UVICORN_WORKERS"):
        value = environ.get(name, "")
        if value.isdecimal() and int(value) > 1:
            yield f"{name} is {value}"
    number = _argument_workers(environ.get("GUNICORN_CMD_ARGS", ""))
    if number.isdecimal() and int(number) > 1:
        yield f"GUNICORN_CMD_ARGS asks for {number} workers"
    if (workers := _gunicorn_workers(where / "gunicorn.conf.py")) not in ("", "0", "1"):
        yield f"gunicorn.conf.py has workers = {workers}"
    for name in ("uwsgi.ini", "app.ini", "wsgi.ini"):
        if (processes := _uwsgi_processes(where / name)) not in ("", "0", "1"):
            yield f"{name} has processes = {processes}"


def _argument_workers(arguments: str) -> str:
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-w", "--workers", default="")
    with suppress(ValueError, argparse.ArgumentError):
        return str(parser.parse_known_args(shlex.split(arguments))[0].workers)
    return ""


def _gunicorn_workers(path: Path) -> str:
    """Return the expression assigned to `workers`; the file is not executed."""
    found = ""
    with suppress(OSError, SyntaxError, ValueError):
        for statement in ast.parse(path.read_text()).body:
            if isinstance(statement, ast.Assign):
                for target in statement.targets:
                    if isinstance(target, ast.Name) and target.id == "workers":
                        found = ast.unparse(statement.value)
    return found


def _uwsgi_processes(path: Path) -> str:
    found = ""
    with suppress(OSError, configparser.Error, UnicodeDecodeError):
        parser = configparser.ConfigParser(strict=False, allow_no_value=True, interpolation=None)
        parser.read_string(path.read_text())
        if parser.has_section("uwsgi"):
            for option in ("processes", "workers"):
                found = parser.get("uwsgi", option, fallback="") or found
    return found.strip()
