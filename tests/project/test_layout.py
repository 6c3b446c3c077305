"""The names of tests that the Makefile and the table of markers have are names of tests."""

from __future__ import annotations

import re

import pytest

from tests.conftest import MARKERS
from tests.support.paths import ROOT

TESTS = ROOT / "tests"


@pytest.mark.parametrize("name", [name for names in MARKERS.values() for name in names])
def test_markers_are_of_tests_that_exist(name: str) -> None:
    file, _, function = name.partition("::")
    assert (TESTS / file).exists()
    assert not function or f"\ndef {function}" in (TESTS / file).read_text()


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
