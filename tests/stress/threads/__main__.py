"""`python -m tests.stress.threads [--rounds N]`: eight threads at once, and what they counted.

Exit status 1 if a number is wrong.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence

from .load import THREADS, Load, announcements, endings, first_exemplars, increments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stress, print what came of it, return 1 if a number is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.threads", description=__doc__)
    parser.add_argument("--rounds", type=int, default=400, help="of requests, for each thread")
    rounds = parser.parse_args(arguments).rounds
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"Python {sys.version.split()[0]}, {'with' if has_gil else 'without'} the GIL")
    begin = time.perf_counter()
    logging.disable(logging.WARNING)  # a bound is reached
    load = Load()
    load.run(rounds)
    wrong = [
        *load.wrong,
        *endings(10 * rounds),
        *first_exemplars(50 * rounds),
        *announcements(rounds // 10),
        *increments(100 * rounds),
    ]
    seconds = time.perf_counter() - begin
    print(
        f"{load.asked['requests']} requests, {load.asked['jobs']} jobs, "
        f"{load.scrapes} scrapes, {100 * rounds * THREADS} increments, {THREADS} threads, "
        f"{seconds:.0f} s: {len(wrong)} wrong"
    )
    print("".join(f"  WRONG: {what}\n" for what in wrong[:20]), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
