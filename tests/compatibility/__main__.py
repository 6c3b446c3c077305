"""`python -m tests.compatibility` prints the tables of `docs/compatibility.md`."""

from __future__ import annotations

import logging
from importlib.metadata import version

from .comparing import bare, measured
from .programs import ORDERS, Extension
from .tables import TABLES

HEAD = "| extension | version | what was driven | requests | answers equal | scrape right |\n"


def main() -> None:
    logging.disable()  # the exceptions are meant
    for framework, extensions in TABLES.items():
        print(f"## On {framework} {version(framework)}\n\n{HEAD}{'| --- ' * 6}|")
        for extension in sorted(extensions, key=lambda extension: extension.name.lower()):
            print(_row(extension))
        print()


def _row(extension: Extension) -> str:
    reference = bare(extension)
    runs = [measured(extension, order) for order in ORDERS]
    cells = [
        extension.name,
        extension.version,
        extension.driven,
        str(len(reference.visits)),
        _answer([run.answers == reference.answers for run in runs]),
        _answer([run.scraped == run.expected for run in runs]),
    ]
    return f"| {' | '.join(cells)} |"


def _answer(right: list[bool]) -> str:
    """Say in which orders something is right."""
    if all(right):
        return "yes"
    wrong = [order for order, is_right in zip(ORDERS, right, strict=True) if not is_right]
    return f"not where promweb is attached {' or '.join(wrong)}"


if __name__ == "__main__":
    main()
