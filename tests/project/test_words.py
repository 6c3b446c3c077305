"""Plain English: no sentence has a turn that its reader must read twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import prose
from tests.support.paths import ROOT


class Turn(NamedTuple):
    """A turn that is banned, and how to say it instead."""

    pattern: str
    example: str
    instead: str


ERROR = r"`{0,2}[A-Z]\w*(?:Error|Exception)\b"
TURNS = (
    Turn(
        r"^(?:And |But |So )?(?:What|Who|Whoever|Whatever|Whichever) (?!.*\?$)|"
        r"; (?:and |but |so )?(?:what|who|whoever|whatever) (?!.*\?$)",
        "What fails while recording is logged.",
        "name the actor: promweb logs errors",
    ),
    Turn(r"\bwhoever\b", "It helps whoever holds the lock.", "the process that holds it"),
    Turn(r"\b(?:is|are|was|were) (?:an? )?" + ERROR, "A bad path is a `ValueError`.", "raises"),
    Turn(r"\b(?:is|was|are|were|been) said\b", "Unless more is said, it is off.", "by default"),
    Turn(r"\bmend(?:s|ed|ing)?\b", "It mends the file.", "fixes, repairs"),
    Turn(
        r"(?<![Tt]here )\b(?:is|are|was|were) no "
        r"(?!longer|more|less|better|worse|farther|one\b|use\b|other)",
        "A command is no request.",
        "is not a",
    ),
    Turn(r"\b(?:is|are|was|were) not there\b", "The file is not there.", "does not exist"),
    Turn(r"\b(?:is|are|was|were) told\b", "The parent is told.", "gets, receives, is called with"),
    Turn(
        r"\b(?:tell|say|know|hear|make|become|come)(?:s|ing)? of\b|"
        r"\b(?:told|said|known|became) of\b",
        "The server says of it what it knows.",
        "about, from",
    ),
    Turn(r"\blets? go of\b", "The process lets go of the lock.", "releases"),
    Turn(r"\bunless (?:asked|said|told)\b", "They are off unless asked for.", "off by default"),
    Turn(r"\bfrom (?:which|when) on\b", "The time from which on it is logged.", "the limit"),
    Turn(r"\bthe first time on\b", "It is shown from the first time on.", "once it has"),
    Turn(r"^Else\b", "Else the worker waits.", "otherwise"),
    Turn(r"\bif (?:any|anything|anybody) does\b", "It is logged, if anything does.", "or None"),
    Turn(r"\b(?:that|[Aa]ll|what) there (?:is|are)(?=[.,;:)]|$)", "All that there is.", "existing"),
    Turn(r"\bone's own\b", "Metrics of one's own.", "your own"),
    Turn(
        r"\b(?:anew|upon|there(?:of|upon|by|in)|where(?:of|upon|by|in)|hence|lest|albeit|whilst)\b",
        "The process starts anew.",
        "again; a word that people say",
    ),
)

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
CODE = ("promweb", "tests", "benchmarks", "examples", "docs")
OTHERS = (".js", ".css", ".html", ".yml", ".toml", ".txt")
SETTINGS = (".ci/python", ".ci/run", ".pre-commit-config.yaml", "Makefile", "mkdocs.yml")


def refused(path: Path, sentences: Iterator[prose.Sentence]) -> list[str]:
    """Return the sentences with a banned turn, each with its place and the turn's replacement."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {sentence!r} (say: {turn.instead})"
        for line, sentence in sentences
        for turn in TURNS
        if re.search(turn.pattern, sentence)
    ]


@pytest.mark.parametrize("turn", TURNS, ids=[turn.example for turn in TURNS])
def test_a_banned_turn_is_found_in_code_and_documents(turn: Turn) -> None:
    path, text = ROOT / "x", f"Some words. {turn.example}"
    for found in (
        prose.of_markdown(f"# Words\n\n* {text}\n"),
        prose.of_python(f'"""{text}"""', messages=False),
        prose.of_python(f"x = 1  # {text}", messages=False),
        prose.of_python(f'raise ValueError("{text}")', messages=True),
        prose.of_comments(f"# {text}\nx: 1"),
        prose.of_comments(f" * {text} */"),
    ):
        assert any(turn.instead in one for one in refused(path, found))
    assert not refused(path, prose.of_python(f'x = "{text}"', messages=False))
    assert not refused(path, prose.of_markdown(f"```\n{text}\n```\n"))


def test_plain_sentences_pass() -> None:
    text = """
# What it costs

What does it cost? A bad path raises ValueError. There is no lock. It is no longer logged. Say who
answers. The server knows what the client sent; nothing else does.
"""
    assert refused(ROOT / "x", prose.of_markdown(text)) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_are_plain(document: Path) -> None:
    found = refused(document, prose.of_markdown(document.read_text()))
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize("folder", CODE)
def test_docstrings_comments_and_messages_are_plain(folder: str) -> None:
    """Strings of tests are data, and the messages in them are promweb's."""
    found: list[str] = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        source = path.read_text()
        found += refused(path, prose.of_python(source, messages=folder != "tests"))
    assert not found, "\n".join(["", *found])


def test_comments_in_other_languages_are_plain() -> None:
    paths = [ROOT / name for name in SETTINGS]
    paths += [ROOT / "pyproject.toml"]
    for folder in CODE:
        paths += [path for path in (ROOT / folder).rglob("*") if path.suffix in OTHERS]
    found = [
        one
        for path in paths
        if "uPlot" not in path.name
        for one in refused(path, prose.of_comments(path.read_text()))
    ]
    assert not found, "\n".join(["", *found])
