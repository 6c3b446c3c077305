"""Shared by the tests of `promweb dashboard` and `promweb rules`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from inspect import signature
from typing import Any

import yaml
from click.testing import CliRunner, Result

from promweb.tools.cli.group import cli


def run(*arguments: str) -> Result:
    """Run a command; click before 8.2 separates stderr only on request."""
    apart = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
    return CliRunner(**apart).invoke(cli, arguments)


def printed(*arguments: str) -> str:
    """Return what a command prints; it must end well."""
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def dashboard(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed("dashboard", *arguments))
    return found


def rules(*arguments: str) -> list[dict[str, Any]]:
    """Return the rules of all groups."""
    groups = yaml.safe_load(printed("rules", *arguments))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every panel, rows and those in collapsed rows included."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])
