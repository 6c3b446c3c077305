"""promweb's supply chain: dependencies, their lower bounds and licences, and SECURITY.md."""

from __future__ import annotations

import ast
import re
from importlib.metadata import Distribution
from typing import Any

import pytest

from tests.support.paths import ROOT

from . import audit

PROJECT = (ROOT / "pyproject.toml").read_text()
EXTRAS = ("flask", "quart", "cli")
SECURITY = (ROOT / "SECURITY.md").read_text()


def requirements(*extras: str) -> dict[str, str]:
    """Return what is installed with some extras: package and lower bound."""
    listed = []
    for name in ("dependencies", *extras):
        (found,) = re.findall(rf"^{name} = (\[.*\])$", PROJECT, re.MULTILINE)
        listed += ast.literal_eval(found)
    return dict(requirement.partition(",")[0].split(">=") for requirement in listed)


def test_every_requirement_has_a_lower_bound_that_is_tested() -> None:
    """`make test-oldest` runs the tests with the versions of this file."""
    lines = (ROOT / "tests/oldest.txt").read_text().splitlines()
    oldest = dict(line.split("==") for line in lines if not line.startswith("#"))
    for name, bound in requirements(*EXTRAS).items():
        assert re.fullmatch(rf"{re.escape(bound)}(\.0)*", oldest[name]), name


def test_every_requirement_is_imported() -> None:
    imported = set()
    for path in (ROOT / "promweb").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                imported.add(node.module.partition(".")[0])
    modules = {"pyyaml": "yaml"}
    needed = {modules.get(name, name.replace("-", "_")) for name in requirements(*EXTRAS)}
    assert needed <= imported


# --- make audit ---------------------------------------------------------------------------------


def distribution(name: str, metadata: str, text: str = "") -> Distribution:
    class Made(Distribution):
        def read_text(self, filename: str) -> str | None:
            files = {
                "METADATA": f"Name: {name}\nVersion: 1.0\n{metadata}",
                "licenses/COPYING": text,
            }
            return files.get(filename)

        def locate_file(self, path: Any) -> Any:
            raise AssertionError

    return Made()


@pytest.mark.parametrize(
    ("metadata", "licence", "code"),
    [
        ("License-Expression: BSD-3-Clause\nLicense: other\n", "BSD-3-Clause", 0),
        ("Classifier: License :: OSI Approved :: MIT License\n", "MIT License", 0),
        ("Classifier: License :: OSI Approved\nLicense: MIT\n more text\n", "MIT", 0),
        ("License: GPL-3.0\n", "GPL-3.0", audit.FOUND),
        ("License-Expression: MIT AND GPL-3.0\n", "MIT AND GPL-3.0", audit.FOUND),
        ("License: limited\n", "limited", audit.FOUND),
        ("", "unknown", audit.FOUND),
    ],
)
def test_licences_are_listed(
    metadata: str, licence: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [distribution("zebra", metadata), distribution("apple", "License: MIT\n")]
    assert audit.list_licences(found) == code
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["apple", "1.0", "MIT"]
    assert second.startswith("zebra")
    assert licence in second
    assert ("not permitted" in second) == bool(code)


@pytest.mark.parametrize(
    ("text", "licence"),
    [("\nThe MIT License\n\nCopyright", "The MIT License"), ("", "unknown")],
)
def test_the_text_of_a_licence_tells_what_the_metadata_does_not(text: str, licence: str) -> None:
    assert audit.licence(distribution("zebra", "License-File: COPYING\n", text)) == licence


FINE = {"name": "flask", "version": "3.0", "vulns": []}
BAD = {"name": "jinja2", "version": "2.10", "vulns": [{"id": "PYSEC-1"}]}
UNKNOWN = {"name": "quart", "skip_reason": "not found"}
OURS = {"name": "promweb", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("dependencies", "code", "printed"),
    [
        ([FINE, OURS], 0, ["1 of 1 audited, 0 with known vulnerabilities"]),
        (
            [FINE, BAD],
            audit.FOUND,
            ["jinja2 2.10: PYSEC-1", "2 of 2 audited, 1 with known vulnerabilities"],
        ),
        (
            [FINE, UNKNOWN],
            audit.UNKNOWN,
            [
                "NOT AUDITED: the advisories do not know quart",
                "1 of 2 audited, 0 with known vulnerabilities",
            ],
        ),
        ([OURS], audit.UNKNOWN, ["0 of 0 audited, 0 with known vulnerabilities"]),
    ],
)
def test_audit_says_what_it_did_not_look_up(
    dependencies: list[Any], code: int, printed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """pip-audit itself ends with "No known vulnerabilities" where it found no advisories at all."""
    assert audit.judge({"dependencies": dependencies}, "") == code
    assert capsys.readouterr().out.splitlines() == printed


def test_audit_without_network_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.judge(None, "no route to host") == audit.UNKNOWN
    assert "NOT AUDITED" in capsys.readouterr().out


# --- SECURITY.md --------------------------------------------------------------------------------


def promised() -> list[tuple[str, list[str]]]:
    """Return the rows of the table of promises: the promise, and what holds it."""
    rows = re.findall(r"^\| (?!---|promise)(.*?) \| (.*?) \|$", SECURITY, re.MULTILINE)
    return [(promise, re.findall(r"`([^`]+)`", held)) for promise, held in rows]


@pytest.mark.parametrize(("promise", "held"), promised(), ids=[row[0] for row in promised()])
def test_each_promise_names_tests_that_exist(promise: str, held: list[str]) -> None:
    assert held
    for name in held:
        if name.startswith("make "):
            assert f"\n{name.removeprefix('make ')}:" in (ROOT / "Makefile").read_text()
            assert name in (ROOT / ".ci/run").read_text()
            continue
        file, _, function = name.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_there_are_promises() -> None:
    assert len(promised()) > 10
