"""`python -m tests.project.comparison` prints the tables of `docs/comparison.md`.

Each question is answered in a process of its own, because the libraries keep their state in
globals. With a name (`promweb`) it prints the columns of that library.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from . import endpoint_questions, flask_questions, quart_questions
from .measuring import SHARED, Peer
from .peers import FLASK, QUART

Question = Callable[[Peer], str]

TABLES: dict[str, tuple[list[Peer], list[Question]]] = {
    "flask": (FLASK, flask_questions.QUESTIONS),
    "quart": (QUART, quart_questions.QUESTIONS),
    "endpoints": (endpoint_questions.ENDPOINTS, endpoint_questions.QUESTIONS),
}


def main(name: str = "", title: str = "", question: str = "") -> None:
    """Print all tables, the columns of one library, or an answer that is found in this process."""
    logging.disable()  # the exceptions are meant
    if question:
        print(answer(name, title, question))
    elif name:
        for title, (peers, _) in TABLES.items():
            if name in {peer.name for peer in peers}:
                print("\n".join(column(name, title)))
    else:
        print("\n".join([_versions(), *(table(title) for title in TABLES)]), end="")


def _versions() -> str:
    """Return a sentence that names what is compared."""
    lines = (Path(__file__).parent / "peers.txt").read_text().splitlines()
    names = [line.partition("==")[0] for line in lines if not line.startswith("#")]
    return ", ".join(f"{name} {version(name)}" for name in names) + ".\n"


def table(title: str) -> str:
    """Return a table in Markdown: a row for each question, a column for each library."""
    peers, questions = TABLES[title]
    head = ["question", *(peer.name for peer in peers)]
    columns = [column(peer.name, title) for peer in peers]
    answers = zip((str(question.__doc__) for question in questions), *columns, strict=True)
    rows = [head, ["---"] * len(head), *answers]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def column(name: str, title: str) -> list[str]:
    """Return the answers of one library."""
    _, questions = TABLES[title]
    return [
        (_from_a_second_process if question.__name__ == "workers" else _from_a_fork)(
            name, title, question.__name__
        )
        for question in questions
    ]


def answer(name: str, title: str, question: str) -> str:
    """Return what this process finds out."""
    peers, questions = TABLES[title]
    peer = next(peer for peer in peers if peer.name == name)
    return next(asked for asked in questions if asked.__name__ == question)(peer)


def _from_a_fork(*asked: str) -> str:
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    process = fork.Process(target=lambda: answers.put(answer(*asked)))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"no answer: {asked}")
    return answers.get()


def _from_a_second_process(*asked: str) -> str:
    """Ask two processes that share a directory, one after the other."""
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-m", "tests.project.comparison", *asked],
                env={**os.environ, SHARED: directory},
                capture_output=True,
                text=True,
                check=True,
            )
    return done.stdout.strip()


if __name__ == "__main__":
    main(*sys.argv[1:])
