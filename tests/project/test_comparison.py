"""The comparison is what `make comparison` printed, and promweb still does what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRINTED = (ROOT / "tests/project/comparison/printed.md").read_text().split("\n\n")


def test_the_page_has_the_tables_as_printed() -> None:
    page = (ROOT / "docs/comparison.md").read_text()
    for part in PRINTED:
        assert part.strip() in page


def test_promweb_answers_as_the_tables_say() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.project.comparison", "promweb"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = [row.split(" | ")[1] for table in PRINTED[1:] for row in table.splitlines()[2:]]
    assert done.stdout.splitlines() == said
