"""What keeps an application from being imported, and what promweb logs meanwhile."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ...core.families.problems import logger
from ..loading.targets import LoadError, is_from_promweb, place
from .findings import Finding, error

__all__ = ["explain", "listening"]


def explain(fault: BaseException) -> Finding:
    """Return what kept an application from being imported."""
    if isinstance(fault, LoadError):
        return error(
            "application",
            f"The application cannot be found: {fault}",
            "There is nothing to look at.",
            "Name it as flask --app does: a module or a file, and the application or a function "
            "that makes it, as in module:app or module:create_app('test').",
        )
    where, line = place(fault)
    if isinstance(fault, OSError) and fault.errno == errno.EADDRINUSE:
        return error(
            "port-taken",
            f"A port is taken already: {fault}, in {where}.",
            "With a server in a module, every process that imports it wants the port: each worker, "
            "the reloader's parent, this check while the service runs.",
            "Start the server in one process, or use promweb's start_http_server, which waits "
            "until the port is free.",
        )
    what = f"The application cannot be imported: {type(fault).__name__}: {fault}"
    if is_from_promweb(fault):
        return error(
            "application",
            what,
            "promweb refuses at the start of a program what would not work when it serves.",
            f"Correct {where}, as it says.",
        )
    return error(
        "application",
        what,
        f"It came from {where}: {line}" if line else f"It came from {where}.",
        "Correct that; or run this command where the service runs, with its environment.",
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
