"""The suite itself: its folders, its markers, and tests whose programs are missing."""

from __future__ import annotations

import os
import re
import sys
import threading

import pytest

from tests.conftest import MARKERS
from tests.support.needs import module, program
from tests.support.paths import ROOT
from tests.support.running import unmeasured

TESTS = ROOT / "tests"


@pytest.mark.parametrize("name", [name for names in MARKERS.values() for name in names])
def test_markers_are_of_tests_that_exist(name: str) -> None:
    file, _, function = name.partition("::")
    function, _, parameter = function.partition("*")
    assert (TESTS / file).exists()
    assert not function or f"\ndef {function}" in (TESTS / file).read_text()
    assert not parameter or f'{parameter}"' in (TESTS / file).read_text()


def test_files_with_markers_are_run_first(request: pytest.FixtureRequest) -> None:
    marked = tuple(name.partition("::")[0] for names in MARKERS.values() for name in names)
    files = dict.fromkeys(item.path for item in request.session.items)
    found = [path.relative_to(TESTS).as_posix().startswith(marked) for path in files]
    assert found == sorted(found, reverse=True)


def test_what_is_unmeasured_is_not_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.gettrace(), threading.gettrace()
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", "config")
    with unmeasured():
        assert (sys.gettrace(), threading.gettrace()) == (None, None)
        assert "COVERAGE_PROCESS_CONFIG" not in os.environ
    assert (sys.gettrace(), threading.gettrace()) == before
    assert os.environ["COVERAGE_PROCESS_CONFIG"] == "config"


def test_the_makefile_names_tests_that_exist() -> None:
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    lists = re.findall(
        r"^(?:NEWEST_ONLY|ON_NEWEST) := (?:\$\(addprefix tests/,)?([^)\n]+)", text, re.M
    )
    names = [name for found in lists for name in found.split()]
    assert len(names) > 10
    assert [name for name in names if not (TESTS / name.partition("::")[0]).exists()] == []


def test_every_test_is_in_a_folder() -> None:
    assert [path.name for path in TESTS.glob("test_*.py")] == []


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_what_is_missing_skips_a_test_and_fails_it_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no-such-program is not installed"):
        program("no-such-program")
    with pytest.raises(outcome, match="no_such_module is not installed"):
        module("no_such_module")
