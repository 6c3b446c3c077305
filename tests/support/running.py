"""Programs that run in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

from .paths import ROOT
from .waiting import DEADLINE, PROGRAM


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


@contextmanager
def background(
    command: Sequence[str],
    log: Path,
    *,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    ends: bool = True,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that writes to a log; at the end it is gone, and all that it started.

    It gets a signal to end, and fails the test if it does not; with `ends=False` it is killed.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        try:
            if ends:
                process.terminate()
                process.wait(DEADLINE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


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


@contextmanager
def unmeasured() -> Iterator[None]:
    """Trace no lines here, nor in the programs that are started meanwhile.

    Tracing makes Python take two to five times as long.
    """
    trace, trace_of_threads = sys.gettrace(), threading.gettrace()
    config = os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    try:
        yield
    finally:
        threading.settrace(trace_of_threads)  # type: ignore[arg-type]
        sys.settrace(trace)
        if config is not None:
            os.environ["COVERAGE_PROCESS_CONFIG"] = config
