"""The comparison is the output of `make comparison`, and promweb still answers so."""

from __future__ import annotations

import sys

from tests.support.paths import ROOT
from tests.support.running import run

PRINTED = (ROOT / "tests/project/comparison/printed.md").read_text().split("\n\n")


def test_the_page_has_the_tables_as_printed() -> None:
    page = (ROOT / "docs/comparison.md").read_text()
    for part in PRINTED:
        assert part.strip() in page


def test_promweb_answers_as_the_tables_say() -> None:
    done = run([sys.executable, "-m", "tests.project.comparison", "promweb"], check=True)
    said = [row.split(" | ")[1] for table in PRINTED[1:] for row in table.splitlines()[2:]]
    assert done.stdout.splitlines() == said
