"""`docs/compatibility.md` has the programs' results, whatever the versions are."""

from __future__ import annotations

from tests.support.paths import ROOT

from .__main__ import row
from .tables import TABLES


def test_the_page_has_a_row_for_each_extension() -> None:
    lines = (ROOT / "docs/compatibility.md").read_text().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    said = sorted(_without_version(cells) for cells in rows if cells[0] not in ("extension", "---"))
    found = [row(extension) for extensions in TABLES.values() for extension in extensions]
    assert said == sorted(map(_without_version, found))


def _without_version(cells: list[str]) -> list[str]:
    return [cells[0], *cells[2:]]
