"""Three instances of the shop, two on Flask and one on Quart, and a Prometheus that finds them.

`python -m examples.fleet` sends them known requests and compares what Prometheus says: requests,
errors and quantiles over all instances, and the recorded rules. Without `--once` all go on until
Ctrl-C. Prometheus has to be installed.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from .checks import Check, checks
from .fleet import INSTANCES, REHEARSAL, Fleet, fleet, send


def compare(fleet: Fleet) -> list[Check]:
    """Send the errands, and ask Prometheus about them."""
    rehearsed = len(INSTANCES) * len(REHEARSAL)
    before = fleet.settle(rehearsed)
    answers = send(fleet.ports)
    fleet.settle(rehearsed + len(answers))
    return list(checks(fleet, answers, before, fleet.evaluate()))


def show(found: list[Check]) -> None:
    print(f"\n{'':26}{'sent':>19}  Prometheus says\n")
    for check in found:
        sent = f"{check.low:.4g}"
        if f"{check.high:.4g}" != sent:
            sent += f" to {check.high:.4g}"
        verdict = "" if check.holds else "  WRONG"
        print(f"  {check.what:24}{sent:>19}  {check.found:.4g}{verdict}")


def go_on(fleet: Fleet) -> None:
    """Send a request every half second until Ctrl-C."""
    pause = threading.Event()
    for errand in itertools.cycle(REHEARSAL):
        send(fleet.ports, [errand])
        pause.wait(0.5)


def main(arguments: list[str] | None = None) -> int:
    """Run the fleet, show Prometheus' numbers, and return 0 if they match the requests."""
    parser = argparse.ArgumentParser(prog="python -m examples.fleet", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the comparison")
    once = parser.parse_args(arguments).once
    program = shutil.which("prometheus")
    if program is None:
        print("prometheus is not installed: apt-get install prometheus, or prometheus.io/download")
        return 2
    with TemporaryDirectory() as directory, fleet(program, Path(directory)) as ships:
        for name, port in ships.ports.items():
            print(f"{name}: http://127.0.0.1:{port}/metrics")
        print(f"Prometheus: http://{ships.prometheus.address}", flush=True)
        found = compare(ships)
        show(found)
        complaints = ships.prometheus.complaints()
        print("\n".join(["", *complaints]) if complaints else "\nPrometheus has no complaint.")
        if not once:
            try:
                print("\nAll go on, with a request every half second. Ctrl-C ends.", flush=True)
                go_on(ships)
            except KeyboardInterrupt:
                print()
    return 0 if all(check.holds for check in found) and not complaints else 1


if __name__ == "__main__":
    sys.exit(main())
