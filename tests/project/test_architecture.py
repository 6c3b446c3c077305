"""The house is built as docs/architecture.md draws it."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "promweb"
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()

LAZY = ("promweb", "promweb.multiprocess")
"""Packages with public names that are loaded when they are used."""

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}

HOUSE = ARCHITECTURE.partition("## The way")[0]
ROWS = re.findall(r"^\| (`[\w./]+`(?: `[\w./]+`)*) \|", HOUSE, re.MULTILINE)
ROOMS = [re.findall(r"`([\w./]+)`", row) for row in ROWS]
"""The rooms, from the top down; each has folders and modules."""


def room_of(module: str) -> int | None:
    """Return the number of a module's room, counted from the top; None for the lazy packages."""
    if module in LAZY:
        return None
    relative = MODULES[module].relative_to(PACKAGE)
    folder = "" if relative.parent == Path() else str(relative.parent)
    for number, names in enumerate(ROOMS):
        if str(relative) in names or folder in names:
            return number
    if relative.name == "__init__.py":  # of a folder of rooms; it has no code
        return None
    raise AssertionError(f"{relative} is in no room of docs/architecture.md")


def imported(module: str) -> Iterator[str]:
    """Yield the modules of promweb that a module imports anywhere, also for types."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                if name in MODULES:
                    yield name
                elif base in MODULES:
                    yield base


GRAPH = {module: set(imported(module)) - {module} for module in MODULES if module not in LAZY}


def test_the_table_has_rooms_and_each_module_is_in_one() -> None:
    assert len(ROOMS) > 15
    for module in MODULES:
        room_of(module)
    for names in ROOMS:
        for name in names:
            assert (PACKAGE / name).exists(), name


def test_no_room_imports_one_above_it() -> None:
    arrows = {
        (above, below)
        for module, others in GRAPH.items()
        for other in others
        if (above := room_of(module)) is not None
        and (below := room_of(other)) is not None
        and above != below
    }
    for above, below in sorted(arrows):
        print(f"{' '.join(ROOMS[above])} -> {' '.join(ROOMS[below])}")
    assert arrows
    assert [(ROOMS[above], ROOMS[below]) for above, below in arrows if above > below] == []


def test_no_modules_import_one_another_in_a_circle() -> None:
    TopologicalSorter(GRAPH).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES.values()}))
def test_folders_and_modules_are_small(folder: Path) -> None:
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= 10
    for path in modules:
        assert len(path.read_text().splitlines()) <= 350, path.name


SHOWN = re.findall(
    r"<!-- not executed: the source of ([\w/]+\.py) ([\w.]+) -->\n```python\n(.*?)```",
    ARCHITECTURE,
    re.S,
)


@pytest.mark.parametrize(("file", "name", "code"), SHOWN, ids=[name for _, name, _ in SHOWN])
def test_code_that_is_shown_is_the_source(file: str, name: str, code: str) -> None:
    found = importlib.import_module("promweb." + file.removesuffix(".py").replace("/", "."))
    for part in name.split("."):
        found = getattr(found, part)
    assert textwrap.dedent(inspect.getsource(found)) == code  # type: ignore[arg-type]


def test_the_architecture_is_short() -> None:
    assert len(SHOWN) >= 2
    assert len(ARCHITECTURE.splitlines()) <= 150
