"""The command `promweb`, also run by `python -m promweb`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; exit with a message if its extra is not installed."""
    try:
        from .tools.cli.group import cli
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("promweb's commands need click. Install it with: pip install 'promweb[cli]'")
    cli(prog_name="promweb")


if __name__ == "__main__":
    main()
