"""The option `--app`: an application, which is loaded as `flask --app` and `quart --app` do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import click

from ..loading.isolation import sharing_nothing
from ..loading.targets import LoadError, find, place
from ..terminal import safe

__all__ = ["loaded", "target_of"]


def target_of(app: str | None) -> str | None:
    """Return the application that was named: here, or as `flask --app` and `quart --app`."""
    framework = click.get_current_context().find_root().obj
    return app or getattr(framework, "app_import_path", None)


@contextmanager
def loaded(target: str) -> Iterator[Any]:
    """Yield the application; what is wrong with it, here or while it is used, is wrong usage."""
    try:
        # What a module prints is nothing that a command prints.
        with sharing_nothing(), redirect_stdout(sys.stderr):
            application = find(target)
            yield application
    except LoadError as error:
        raise click.BadParameter(safe(str(error)), param_hint="--app") from error
    except click.ClickException:
        raise
    except (Exception, SystemExit) as fault:
        where, line = place(fault)
        raise click.BadParameter(
            safe(f"the application cannot be imported: {type(fault).__name__}: {fault}")
            + f"\n  {safe(where)}"
            + (f"\n    {safe(line)}" if line else ""),
            param_hint="--app",
        ) from fault
