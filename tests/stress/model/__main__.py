"""`make explore`: compare promweb with the model, with new seeds, for some minutes.

It prints each seed before it runs the programs of it. `make explore SEED=...` begins with that
seed. Each finding becomes a test with a fixed case.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback

from tests.support.legs import LEGS

from .machines import steps
from .programs import run_programs


def main() -> int:
    """Run seeds until the time is over; return 1 at the first difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.model", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long to go on")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    seed = options.seed
    while True:
        print(f"seed {seed}", flush=True)
        for leg in LEGS:
            try:
                run_programs(leg, seed)
            except Exception:
                traceback.print_exc()
                print(f"{leg} differs from the model. Repeat it with: make explore SEED={seed}")
                return 1
            if time.monotonic() > end:
                print(f"No difference in {sum(steps.values()):,} steps.")
                return 0
        seed += 1


if __name__ == "__main__":
    sys.exit(main())
