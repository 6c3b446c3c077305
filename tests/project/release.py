"""`make release-check`: both distributions, each in an empty environment.

    python -m tests.project.release FOLDER PYTHON...

Installs the wheel and the sdist of FOLDER for each PYTHON into an environment of its own, and
runs README's quick start there. Fails for a warning of pip or of Python. Prints the size of the
wheel and what it takes to import it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import NamedTuple
from zipfile import ZipFile

from tests.support.paths import ROOT

_ABOUT_AN_INDEX = re.compile(r"WARNING: Location '[^']*' is ignored: ")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

# At the end of each program: its endpoint has to answer.
_PROBE = """
import asyncio, inspect

async def ask():
    response = app.test_client().get("/metrics")
    response = await response if inspect.isawaitable(response) else response
    text = response.get_data(as_text=True)
    text = await text if inspect.isawaitable(text) else text
    assert response.status_code == 200
    assert "http_request_duration_seconds" in text

asyncio.run(ask())
"""

_IMPORT = """
import flask, prometheus_client, time
start = time.perf_counter()
from promweb import PrometheusMetrics
print(time.perf_counter() - start)
"""


class Program(NamedTuple):
    """The Python blocks under one heading, and what README says that they print."""

    title: str
    code: str
    printed: str


def quick_start(readme: str) -> Iterator[Program]:
    """Yield the programs of README's quick start, one for each framework."""
    section = readme.partition("\n## Quick start\n")[2].partition("\n## ")[0]
    parts = re.split(r"^### (.*)$", section, flags=re.MULTILINE)
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        blocks = _BLOCK.findall(text)
        yield Program(
            title,
            "\n".join(code for language, code in blocks if language == "python"),
            "".join(code for language, code in blocks if language == "text"),
        )


def check(distribution: Path, python: str) -> None:
    """Install a distribution into a clean environment, and run README's quick start there."""
    with TemporaryDirectory() as directory:
        environment = Path(directory) / "venv"
        _run(python, "-m", "venv", environment, directory=directory)
        there = environment / "bin/python"
        asked_for = f"{distribution.resolve()}[flask,quart]"
        _install(there, asked_for, directory)
        programs = [*quick_start((ROOT / "README.md").read_text())]
        assert programs, "README has no quick start"
        for program in programs:
            code = program.code + dedent(_PROBE)
            printed = _run(there, "-W", "error", "-c", code, directory=directory)
            assert _lines(printed) == _lines(program.printed), f"{program.title}:\n{printed}"
        seconds = [float(_run(there, "-c", _IMPORT, directory=directory)) for _ in range(5)]
    titles = " and ".join(program.title for program in programs)
    print(
        f"{python}: {distribution.name} installed, the quick start of {titles} ran, "
        f"imported in {median(seconds) * 1e3:.0f} ms beyond flask and prometheus_client",
        flush=True,
    )


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def _install(python: Path, distribution: str, directory: str) -> None:
    """Install a distribution; fail for a warning, unless it is about a package index."""
    done = subprocess.run(
        (python, "-m", "pip", "install", "-q", distribution),
        cwd=directory,
        env=os.environ | {"PIP_QUIET": "0"},
        stderr=subprocess.PIPE,
        text=True,
    )
    warnings = [line for line in _lines(done.stderr) if not _ABOUT_AN_INDEX.match(line)]
    if done.returncode or warnings:
        sys.exit(f"pip install {distribution} printed:\n" + "\n".join(warnings))


def _run(*command: str | Path, directory: str) -> str:
    """Run a program away from the repository, and return what it printed."""
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def main(folder: str, *pythons: str) -> None:
    (wheel,), (sdist,) = (list(Path(folder).glob(f"*{suffix}")) for suffix in (".whl", ".tar.gz"))
    with ZipFile(wheel) as archive:
        files = archive.infolist()
    print(
        f"{wheel.name}: {wheel.stat().st_size:,} bytes, "
        f"{sum(file.file_size for file in files):,} in {len(files)} files when installed"
    )
    for python in pythons:
        for distribution in (wheel, sdist):
            check(distribution, python)


if __name__ == "__main__":
    main(*sys.argv[1:])
