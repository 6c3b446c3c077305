"""README on a package index, its code in `make release-check`, and metadata."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.project import release
from tests.support.paths import ROOT
from tests.support.running import run

README = (ROOT / "README.md").read_text()
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def readme_of_index(directory: Path) -> str:
    """Return the README for a package index, from a directory with README.md and pyproject.toml."""
    command = [sys.executable, "-m", "hatch_fancy_pypi_readme", ROOT / "pyproject.toml"]
    return run(command, cwd=directory, check=True).stdout


def test_the_index_shows_readme_without_links_into_the_repository() -> None:
    shown = readme_of_index(ROOT)
    assert set(re.findall(r"\]\(([^)]*)\)", CODE.sub("", shown))) == {
        target for target in re.findall(r"\]\(([^)]*)\)", README) if target.startswith("https:")
    }
    assert CODE.findall(shown) == CODE.findall(README)
    assert "repository only" in README
    assert "repository only" not in shown
    headings = re.compile(r"^#+ .*$", re.MULTILINE)
    listed = [title for title in headings.findall(README) if title != "## Documentation"]
    assert headings.findall(shown) == listed


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("a [link](docs/a.md) and [two](#b)", "a link and two"),
        ("[`code`](docs/a.md#b), [far](https://c.example/d)", "`code`, [far](https://c.example/d)"),
        ("one\n\n![The page](docs/page.png)\n\ntwo", "one\n\ntwo"),
        ("![Far](https://c.example/d.png)", "![Far](https://c.example/d.png)"),
        (
            "1\n\n<!-- repository only: a -->\n[a](b)\n\n<!-- repository only: end -->\n\n2\n",
            "1\n\n2\n",
        ),
    ],
)
def test_readme_of_the_index(written: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(written)
    assert readme_of_index(tmp_path).rstrip() == shown.rstrip()


def test_the_quick_start_has_a_program_for_each_framework() -> None:
    flask, quart = release.quick_start(README)
    assert [flask.title, quart.title] == ["Flask", "Quart"]
    assert "PrometheusMetrics(app" in flask.code
    assert "flask_http_request_duration_seconds_count{" in flask.printed
    assert all('group_by="url_rule"' in program.code for program in (flask, quart))
    assert "AsyncPrometheusMetrics(app" in quart.code
    for program in (flask, quart):
        compile(program.code, "README.md", "exec")


def test_the_quick_start_ends_with_its_section() -> None:
    text = "# a\n\n## Quick start\n\n### F\n\n```python\nx\n```\n\n```text\ny\n```\n\n"
    later = "## Later\n\n### G\n\n```python\nz\n```\n"
    assert [*release.quick_start(text + later)] == [("F", "x\n", "y\n")]


def test_each_supported_python_is_a_classifier() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    versions = [int(minor) for minor in re.findall(r':: Python :: 3\.(\d+)"', project)]
    assert f'requires-python = ">=3.{versions[0]}"' in project
    assert versions == [*range(versions[0], versions[-1] + 1)]


def test_a_commit_is_checked_by_what_make_lint_runs() -> None:
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    linted = {program_of(line, "$(BIN)/") for line in lint.splitlines()[1:]}
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    checked = {program_of(hook["entry"], ".venv/bin/") for hook in hooks}
    assert {"ruff", "codespell_lib"} <= checked <= linted


def program_of(command: str, directory: str) -> str:
    """Return the name of the program or the module that a command runs."""
    return command.strip().removeprefix(directory).removeprefix("python -m ").split()[0]
