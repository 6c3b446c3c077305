"""The group of promweb's commands; a command's module is loaded when the command runs.

`promweb NAME`, `python -m promweb NAME`, `flask promweb NAME` and `quart promweb NAME` are the
same commands: both frameworks take a click group from an entry point of the package.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

import click

from ...core.version import __version__

__all__ = ["cli"]

# name: the module of this package with its `command`
_COMMANDS = {name: name for name in ("dashboard", "diff", "doctor", "rules", "top")}


class _LazyGroup(click.Group):
    """Knows the names of its commands, and imports a command when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f".{_COMMANDS[cmd_name]}", __package__)
        return cast(click.Command, module.command)


@click.group(
    name="promweb",
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,  # otherwise click exits with 2 if no command is given
)
@click.version_option(__version__, prog_name="promweb")
@click.pass_context
def cli(context: click.Context) -> None:
    """Prometheus metrics of Flask and Quart applications: compare, check, watch, make files."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
