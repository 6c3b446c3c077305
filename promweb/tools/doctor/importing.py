"""Explains why an application cannot be imported, and collects what promweb logs meanwhile."""

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
    """Return a finding that says why an application cannot be imported."""
    if isinstance(fault, LoadError):
        return error(
            "application",
            f"The application cannot be found: {fault}",
            "There is nothing to check.",
            "Name it as for flask --app: a module or a file, and the application or a function "
            "that makes it, as in module:app or module:create_app('test').",
        )
    where, line = place(fault)
    if isinstance(fault, OSError) and fault.errno == errno.EADDRINUSE:
        return error(
            "port-taken",
            f"A port is already in use: {fault}, in {where}.",
            "A module that starts a server takes the port in every process that imports it: each "
            "worker, the reloader's parent, and this check while the service runs.",
            "Start the server in one process, or use promweb's start_http_server, which waits "
            "until the port is free.",
        )
    what = f"The application cannot be imported: {type(fault).__name__}: {fault}"
    if is_from_promweb(fault):
        return error(
            "application",
            what,
            "promweb refuses at start-up what would not work later.",
            f"Fix {where}, as the message says.",
        )
    return error(
        "application",
        what,
        f"It came from {where}: {line}" if line else f"It came from {where}.",
        "Fix that; or run this command where the service runs, with its environment.",
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
