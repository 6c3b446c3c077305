"""A real terminal: a program in a window of tmux, its screen as text, keys."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from .needs import program
from .waiting import DEADLINE


@dataclass(frozen=True)
class Terminal:
    """A window that runs a program."""

    tmux: Sequence[str]

    def keys(self, *keys: str) -> None:
        """Press keys, by tmux's names for them."""
        self._ask("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        self._ask("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self) -> list[str]:
        """Return the lines that are on the screen, without the blanks at their ends."""
        return self._ask("capture-pane", "-p").splitlines()

    def shows(self, holds: Callable[[list[str]], object]) -> None:
        """Wait until something holds for the lines of the screen: it is true, no assertion fails.

        Programs paint in pieces, so one condition must cover everything that belongs together.
        """
        deadline = time.monotonic() + DEADLINE
        while True:
            lines, problem = self.screen(), "it does not hold"
            try:
                if holds(lines):
                    return
            except AssertionError as error:
                problem = str(error)
            if time.monotonic() > deadline:
                pytest.fail("\n".join([problem, "The screen:", *lines]))
            time.sleep(0.05)  # between two looks

    def _ask(self, *arguments: str) -> str:
        return subprocess.run(
            [*self.tmux, *arguments], capture_output=True, text=True, check=True, timeout=DEADLINE
        ).stdout


@contextmanager
def terminal(command: Sequence[str], columns: int, rows: int) -> Iterator[Terminal]:
    """Run a program in a window of this size; after it the screen has its exit code, `rc=...`."""
    tmux = program("tmux")
    # The path of a socket has little room, less than that of pytest's directories may need.
    with tempfile.TemporaryDirectory(prefix="tmux") as directory:
        asking = [tmux, "-u", "-f", "/dev/null", "-S", f"{directory}/socket"]
        shell = f'{shlex.join(command)}; echo "rc=$?"; exec cat'
        subprocess.run(
            [*asking, "new-session", "-d", "-x", str(columns), "-y", str(rows), shell],
            # Given explicitly, because readline sets both behind the back of `os.environ`.
            env={name: os.environ[name] for name in os.environ.keys() - {"COLUMNS", "LINES"}},
            check=True,
            timeout=DEADLINE,
        )
        try:
            yield Terminal(asking)
        finally:
            subprocess.run([*asking, "kill-server"], check=False, timeout=DEADLINE)
