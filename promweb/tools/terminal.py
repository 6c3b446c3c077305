"""Text for a terminal: untrusted text is escaped, tables fit the width."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["needs", "print_tables", "safe"]

_WIDEST = 10_000
"""Columns of a line that goes to a file."""


def safe(text: str) -> str:
    """Escape every character of a text that a terminal would not print as itself."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_tables(tables: RenderableType) -> None:
    """Print what rich can draw, as wide as the terminal."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(highlight=False)
    if not console.is_terminal:  # a file has room for every line
        widest = Measurement.get(console, console.options.update(max_width=_WIDEST), tables)
        console = Console(highlight=False, width=widest.maximum)
    with console.capture() as drawn:
        console.print(tables)
    for line in drawn.get().splitlines():
        click.echo(line.rstrip())


@contextmanager
def needs(package: str, *modules: str) -> Iterator[None]:
    """Say what to install if a package is missing: both frameworks bring click alone."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in (package, *modules):
            raise
        raise click.ClickException(
            f"this needs {package}. Install it with: pip install 'promweb[cli]'"
        ) from error
