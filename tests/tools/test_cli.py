"""The command line: found in every way that it is documented, and loaded only when it is run."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner

from promweb.tools.cli.group import cli
from tests.support.paths import SCRIPTS
from tests.support.running import python, run


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "promweb"],
        [str(SCRIPTS / "promweb")],
        [str(SCRIPTS / "flask"), "promweb"],
        [str(SCRIPTS / "quart"), "promweb"],
    ],
)
def test_the_group_is_found(command: list[str]) -> None:
    done = run([*command, "--help"], check=True)
    assert "Prometheus metrics of Flask and Quart applications" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_lists_the_commands(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "promweb", *arguments]
    done = run(command)
    assert (done.returncode, done.stderr) == (0, "")
    listed = done.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == ["dashboard", "diff", "doctor", "rules", "top"]
    assert all(len(line.split()) > 1 for line in listed)


def test_an_unknown_command() -> None:
    done = run([sys.executable, "-m", "promweb", "tpo"])
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'tpo'" in done.stderr


def test_without_click_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['click'] = None; from promweb.__main__ import main; main()"
    done = python(program)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "promweb's commands need click. Install it with: pip install 'promweb[cli]'\n"
    )


def test_the_group_has_the_commands_that_it_says() -> None:
    done = CliRunner().invoke(cli, ["--help"])
    assert {"dashboard", "rules"} <= {line.split()[0] for line in done.stdout.splitlines() if line}
    done = CliRunner().invoke(cli, ["dashbord"])
    assert done.exit_code == 2
    assert "No such command 'dashbord'" in done.output
