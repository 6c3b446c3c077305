"""Programs that run in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

from .paths import ROOT
from .waiting import PROGRAM


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program, and return what it printed; with `check` it must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        input=input,
        capture_output=True,
        text=True,
        timeout=PROGRAM,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def python(script: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter."""
    return run([sys.executable, "-c", dedent(script), *arguments], **options)


def answer(script: str, *, ignore: str = "ignore") -> Any:
    """Run a script in a fresh interpreter, and return what it prints as JSON."""
    done = run([sys.executable, "-W", ignore, "-c", dedent(script)])
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


def without(*prefixes: str) -> dict[str, str]:
    """Return the environment without the variables whose names begin like this, in any case."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(tuple(prefix.upper() for prefix in prefixes))
    }
