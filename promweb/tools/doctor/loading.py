"""Importing an application to look at it, without a trace of that outside of this process."""

from __future__ import annotations

import errno
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.resources import files
from typing import Any

from ...core.families.problems import logger
from ...core.families.storage import DIRECTORY_VARIABLE, shared_directory
from .findings import Finding, error

__all__ = ["explain", "find", "listening", "sharing_nothing"]

_PROMWEB = str(files("promweb")) + os.sep


def find(target: str) -> Any:
    """Return the application that `module:name` or `module:function()` stands for."""
    module_name, _, name = target.partition(":")
    sys.path.insert(0, os.getcwd())
    found: Any = import_module(module_name)
    is_call = name.endswith("()")
    for part in (name or "app").removesuffix("()").split("."):
        found = getattr(found, part)
    return found() if is_call else found


def explain(fault: BaseException) -> Finding:
    """Return what kept an application from being imported."""
    frames = traceback.extract_tb(fault.__traceback__)
    here = os.getcwd() + os.sep
    others = [f for f in frames if not f.filename.startswith(_PROMWEB)]
    own = [f for f in others if f.filename.startswith(here) and "site-packages" not in f.filename]
    where = (own or others or frames)[-1]
    if isinstance(fault, OSError) and fault.errno == errno.EADDRINUSE:
        return error(
            "port-taken",
            f"A port is taken already: {fault}, in {where.filename}, line {where.lineno}.",
            "With start_http_server in a module, every process that imports it wants the port: "
            "each worker, the reloader's parent, this check while the service runs.",
            "Have one process call start_http_server, give each a port of its own, or serve the "
            "metrics from the application.",
        )
    what = f"The application cannot be imported: {type(fault).__name__}: {fault}"
    if others and frames[-1].filename.startswith(_PROMWEB):
        return error(
            "application",
            what,
            "promweb refuses at the start of a program what would not work when it serves.",
            f"Correct {where.filename}, line {where.lineno}, as it says.",
        )
    return error(
        "application",
        what,
        f"It came from {where.filename}, line {where.lineno}.",
        "Mend that; or run this command where the service runs, with its environment.",
    )


@contextmanager
def listening(records: list[logging.LogRecord]) -> Iterator[None]:
    """Collect what promweb logs."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign,assignment]
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)


@contextmanager
def sharing_nothing() -> Iterator[None]:
    """Have an application that is imported write to a directory of its own."""
    if shared_directory() is None:
        yield
        return
    before = os.environ.get(DIRECTORY_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="promweb-doctor-") as directory:
        os.environ[DIRECTORY_VARIABLE] = directory
        try:
            yield
        finally:
            del os.environ[DIRECTORY_VARIABLE]
            if before is not None:
                os.environ[DIRECTORY_VARIABLE] = before
