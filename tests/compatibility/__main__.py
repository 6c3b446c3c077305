"""`python -m tests.compatibility` prints the tables of `docs/compatibility.md`."""

from __future__ import annotations

import logging
from importlib.metadata import version

from .comparing import bare, measured
from .programs import ORDERS, Extension
from .tables import TABLES

__all__ = ["row"]

HEAD = "| extension | version | what the program does | requests | answers equal | scrape right |"


def main() -> None:
    logging.disable()  # the exceptions are meant
    print("\n\n".join(map(_table, TABLES)))


def _table(framework: str) -> str:
    extensions = sorted(TABLES[framework], key=lambda extension: extension.name.lower())
    rows = ["| " + " | ".join(row(extension)) + " |" for extension in extensions]
    return "\n".join(
        [f"## On {framework} {version(framework)}", "", HEAD, "| --- " * 6 + "|", *rows]
    )


def row(extension: Extension) -> list[str]:
    """Run a program; return the cells of its row."""
    reference = bare(extension)
    runs = [measured(extension, order) for order in ORDERS]
    return [
        extension.name,
        extension.version,
        extension.driven,
        str(len(reference.visits)),
        _answer([run.answers == reference.answers for run in runs]),
        _answer([run.scraped == run.expected for run in runs]),
    ]


def _answer(right: list[bool]) -> str:
    """Say in which order something is wrong."""
    wrong = [order for order, is_right in zip(ORDERS, right, strict=True) if not is_right]
    return f"not with promweb attached {' or '.join(wrong)}" if wrong else "yes"


if __name__ == "__main__":
    main()
