"""`python -m benchmarks.instructions [name ...]`: how many instructions libraries add to a request.

Valgrind counts the instructions that the processor would execute. The count hardly depends on the
machine or on what else it does, so it shows a change of a few per cent, as no clock does. It says
nothing about caches: code that runs once a request takes more time for an instruction than a loop.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf
from unittest.mock import patch

from promweb.adapters.insight import watching
from promweb.adapters.insight.lanes import LoopLane

from . import requests
from .harness import Comparison, Samples, Table
from .insight import QUEUE_TIME, STEPS

__all__ = ["COMPARISONS", "main"]

COMPARISONS = {
    "flask": [requests.FLASK_DEFAULTS],
    "decorators": [requests.FLASK_DECORATORS],
    "quart": [requests.QUART_DEFAULTS],
    "insight": [*STEPS, QUEUE_TIME],
}
WARM_UP = 200
"""Requests before the counted ones: they fill caches, and Python specializes its code for them."""
INSTRUCTIONS = re.compile(r"I +refs: +([\d,]+)")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument(
        "name", nargs="*", help=f"{', '.join(COMPARISONS)}; the default is all of these"
    )
    parser.add_argument("--requests", type=int, default=500, help="how many to count (default 500)")
    parser.add_argument("--serve", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if unknown := set(options.name) - set(COMPARISONS):
        parser.error(f"no table {', '.join(unknown)}; there are {', '.join(COMPARISONS)}")
    if options.serve:
        _serve(options.name[0], *options.serve, options.requests)
        return 0
    if shutil.which("valgrind") is None:
        parser.error("valgrind is not installed: apt-get install valgrind")
    for name in options.name or COMPARISONS:
        for number, comparison in enumerate(COMPARISONS[name]):
            print(f"\n{_counted(comparison, name, number, options.requests)}", flush=True)
    return 0


def _counted(comparison: Comparison, name: str, number: int, requests: int) -> Table:
    with comparison.variants() as variants:
        names = [variant.name for variant in variants]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        count = partial(_count, name, number, requests)
        found = pool.map(count, range(len(names)))
    samples = Samples({name: [each] for name, each in zip(names, found, strict=True)})
    table = Table(comparison.title, notes=[*comparison.notes, "k: thousand instructions"])
    for row in table.compared(samples, scale=1e-3, unit="k"):
        comparison.judge(table, samples, row)
    return table


def _count(name: str, number: int, requests: int, index: int) -> float:
    """Return the instructions of a request: the difference of two processes, divided by theirs."""
    few, many = (
        _instructions([name, "--serve", f"{number}", f"{index}", "--requests", f"{count}"])
        for count in (0, requests)
    )
    return (many - few) / requests


def _instructions(arguments: Sequence[str]) -> int:
    valgrind = ["valgrind", "--tool=cachegrind", "--cachegrind-out-file=/dev/null"]
    found = subprocess.run(
        [*valgrind, sys.executable, "-m", __spec__.name, *arguments],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        check=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    (count,) = INSTRUCTIONS.findall(found.stderr)
    return int(count.replace(",", ""))


def _serve(name: str, number: int, index: int, requests: int) -> None:
    """Answer requests, without the beat: it comes by the clock, which valgrind makes no slower."""
    lane = partial(LoopLane, interval=inf)
    with patch.object(watching, "LoopLane", lane), COMPARISONS[name][number].variants() as variants:
        run = variants[index].run
        run(WARM_UP)
        run(requests)


if __name__ == "__main__":
    sys.exit(main())
