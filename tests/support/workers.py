"""Worker processes that share a directory, and scrapes of it."""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from promweb.core.families.family import Family
from promweb.multiprocess.file_storage import FileStorage

from . import running
from .waiting import DEADLINE

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def keep(storage: FileStorage, *families: Family[Any]) -> None:
    """Keep the numbers of families of the default registry in files."""
    default = storage.of_registry(REGISTRY, "")
    for family in families:
        family.keep_in(default)


def start(function: Callable[[], object]) -> int:
    """Run a function in a forked process that then ends without a word; return its pid."""
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that others left
        pid = os.fork()
    if pid:
        return pid
    try:
        function()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def join(pid: int) -> int:
    """Wait for a process; return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(function: Callable[[], object]) -> int:
    """Run a function in a worker that ends well; return the pid it had."""
    pid = start(function)
    assert join(pid) == 0
    return pid


def kill_after(function: Callable[[], object]) -> int:
    """Run a function in a worker and then kill it with -9; return the pid it had."""

    def work() -> None:
        function()
        os.kill(os.getpid(), signal.SIGKILL)

    pid = start(work)
    assert join(pid) == -signal.SIGKILL
    return pid


def from_a_small_process(function: Callable[[Path], object], directory: Path) -> None:
    """Call a function of a module, which forks often, in a fresh process; it must not raise.

    A fork of the process that has collected all tests takes ten times as long.
    """
    name, module = function.__name__, function.__module__
    program = f"import sys, pathlib; from {module} import {name}; {name}(pathlib.Path(sys.argv[1]))"
    running.python(program, str(directory), check=True)


def samples(text: str, *, is_openmetrics: bool = False) -> Samples:
    """Return the samples of an exposition."""
    parse = openmetrics if is_openmetrics else text_string_to_metric_families
    found: Samples = {}
    for family in parse(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


def definitions(text: str) -> dict[str, tuple[str, str]]:
    """Return the types and help texts of an exposition's families."""
    families = text_string_to_metric_families(text)
    return {family.name: (family.type, family.documentation) for family in families}


def client_text(directory: Any) -> str:
    """Return the samples of prometheus_client's own collector for a directory."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    return generate_latest(registry).decode()


def value(found: Samples, name: str, **labels: str) -> float | None:
    """Return a sample's value, or None if it does not exist."""
    return found.get((name, frozenset(labels.items())))


def told(descriptor: int) -> None:
    """Wait for a byte from another process; fail if none comes."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    assert waiting.poll(DEADLINE * 1000), "the other process says nothing"
    os.read(descriptor, 1)
