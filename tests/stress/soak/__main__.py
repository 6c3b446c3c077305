"""`python -m tests.stress.soak [--seconds N]`: load both frameworks and account for every request.

Flask and Quart are loaded at the same time. Clients send to a measured and to a bare service in
turns. The measured one is scraped every second and restarted gracefully now and then; its count is
the sum of its generations' counts. Exit status 1 if a request is missing or counted
twice, or if a gauge, a thread or a file descriptor is left behind.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import NamedTuple

from .generations import IN_PROGRESS, Scraper, Service, Usage
from .load import Books, Load
from .service import NATIVE

CLIENTS = 6
RESTARTS = 3
SETTLING = 3.0
"""Seconds until a generation has loaded what it loads once."""

LEFT_EARLY = {"flask": 200, "quart": 499}
"""The status that counts if a client leaves before the response: Flask does not notice."""


class Account(NamedTuple):
    """The fates of all requests to a service."""

    answered: int
    """Reached the application."""
    left: int
    """Of these, broken off by the client."""
    cut: int
    """Of these, without an answer, because the server stopped."""
    refused: int
    """Never reached the application."""
    counted: int
    broken: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Load both frameworks, print what came of it, return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of load")
    parser.add_argument("--only", choices=("flask", "quart"), help="load this one")
    options = parser.parse_args(arguments)
    if options.only:
        broken = soak(options.only, options.seconds)
        print("".join(f"  BROKEN: {what}\n" for what in broken), end="")
        return 1 if broken else 0
    command = [sys.executable, "-m", "tests.stress.soak", f"--seconds={options.seconds}"]
    running = [
        subprocess.Popen([*command, f"--only={framework}"], stdout=subprocess.PIPE, text=True)
        for framework in LEFT_EARLY
    ]
    for process in running:
        print(process.communicate()[0])
    failed = any(process.returncode for process in running)
    print("some promise is BROKEN" if failed else "every request is accounted for")
    return 1 if failed else 0


def soak(framework: str, seconds: float) -> list[str]:
    """Load one framework's services, print what came of it, return what is wrong."""
    with TemporaryDirectory() as directory:
        services = {
            name: Service(framework, Path(directory), bare=name == "bare")
            for name in ("measured", "bare")
        }
        measured = services["measured"]
        load = Load(CLIENTS, lambda name: services[name].port, LEFT_EARLY[framework])
        scraper = Scraper(measured)
        start = time.monotonic()
        with load.running(), scraper.running():
            for generation in range(1, RESTARTS + 1):
                _wait_until(start + seconds * generation / (RESTARTS + 1))
                measured.stop()
                measured.start()
            time.sleep(SETTLING)
            settled = measured.usage()
            _wait_until(start + seconds)
        left, last = measured.rest()
        for service in services.values():
            service.stop()
        account = _reconcile(load.books["measured"], measured.counted, measured.arrived())
    broken = [*scraper.broken, *account.broken]
    left += measured.counted[IN_PROGRESS]
    if left:
        broken.append(f"{left:g} in progress, with nobody there")
    if last.threads > measured.idle.threads or last.files > measured.idle.files:
        broken.append(f"threads or files are left: {measured.idle} became {last}")
    _print(framework, load, account, scraper)
    _print_usage(measured.idle, settled, last, left)
    return broken


def _wait_until(end: float) -> None:
    time.sleep(max(0.0, end - time.monotonic()))


def _reconcile(books: Books, counted: Counter[str], arrived: Counter[int]) -> Account:
    """Compare the clients' books with the service's counts.

    The middleware around promweb saw which requests reached the application. The status of a
    request that was cut off is unknown.
    """
    left = [status for number, status in books.left.items() if arrived[number]]
    silent = [*books.unanswered, *(number for number in books.left if not arrived[number])]
    cut = sum(arrived[number] for number in silent)
    expected = Counter(books.answered) + Counter(left)
    apart = (IN_PROGRESS, NATIVE)
    found = Counter({key: int(n) for key, n in counted.items() if key not in apart})
    missing, more = expected - found, found - expected
    answered = expected.total() + cut
    account = Account(answered, len(left), cut, len(silent) - cut, found.total(), ())
    broken = []
    if books.sent != account.answered + account.refused:
        broken.append(f"sent {books.sent}, which is not what became of them: {account}")
    if account.counted != account.answered:
        broken.append(f"counted {account.counted}, but {account.answered} arrived")
    if counted[NATIVE] != account.counted:
        broken.append(f"{counted[NATIVE]} in native buckets, but {account.counted} were counted")
    if missing or more.total() != cut:
        broken.append(f"missing {dict(missing)}, more than sent {dict(more)}, cut {cut}")
    if arrived and max(arrived.values()) > 1:
        broken.append("a request arrived twice")
    return account._replace(broken=tuple(broken))


def _print(framework: str, load: Load, account: Account, scraper: Scraper) -> None:
    print(f"{framework}, {RESTARTS} restarts, a scrape every second")
    _print_row("requests sent", load.books["measured"].sent)
    _print_row("answered", account.answered)
    _print_row("  to a client that had left", account.left)
    _print_row("  to nobody: cut by a restart", account.cut)
    _print_row("refused during a restart", account.refused)
    _print_row("counted", account.counted)
    _print_row("scrapes answered, refused", f"{scraper.answered}, {scraper.unanswered}")
    _print_row("p50, p99 without promweb", _times(load.books["bare"]))
    _print_row("p50, p99 with promweb", _times(load.books["measured"]))


def _print_usage(idle: Usage, settled: Usage, last: Usage, left: float) -> None:
    """Print what the last generation had at its start and at its end."""
    _print_row("memory", f"{settled.memory:.1f} MiB, then {last.memory:.1f} MiB")
    _print_row("threads", f"{idle.threads}, then {last.threads}")
    _print_row("file descriptors", f"{idle.files}, then {last.files}")
    _print_row("in progress at the end", f"{left:g}")


def _print_row(title: str, value: object) -> None:
    print(f"  {title:<30} {value}")


def _times(books: Books) -> str:
    cuts = quantiles(books.seconds, n=100)
    return f"{cuts[49] * 1e3:.2f} ms, {cuts[98] * 1e3:.2f} ms"


if __name__ == "__main__":
    sys.exit(main())
