"""The option `--app`: an application, loaded as `flask --app` and `quart --app` load it."""

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
    """Return the named application: from this option, or from `flask --app` or `quart --app`."""
    framework = click.get_current_context().find_root().obj
    return app or getattr(framework, "app_import_path", None)


@contextmanager
def loaded(target: str) -> Iterator[Any]:
    """Yield the application; raise BadParameter if it cannot be loaded or used."""
    try:
        # Standard output is for the command alone: what the module prints goes to standard error.
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
