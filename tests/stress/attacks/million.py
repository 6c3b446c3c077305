"""`make attack`: a million hostile requests to each framework, and the growth that they leave.

Flask and Quart are attacked one after the other, each in a process of its own, by calling the WSGI
or ASGI application directly. Memory is the resident size of the process (RSS), because a system
kills services for that. The allocator first gives back what it keeps for later:
values of a megabyte leave room behind on their way through the framework, with and without promweb,
which would hide as much growth. The growth that is left comes from the attack, including the label
sets that it made until the families were full.

A scrape afterwards is compared with one of a service with as many label sets of ordinary requests,
which it got before: texts of several lengths and languages, because it costs something that they
are not all alike. They take turns in random order; times are those of the thread, and the ratio
is that of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time
from typing import Any

from prometheus_client import CollectorRegistry

from promweb.core.exposition import scrape as exposition
from promweb.testing import native_histogram

from .arsenal import Arsenal, Shot
from .targets import LONGEST, Target, flask_target, quart_target, send_asgi, send_wsgi

__all__ = ["main"]

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)
DURATION = "flask_http_request_duration_seconds"
MAX_SERIES = 1000
MOST_GROWTH = 5.0  # MiB
MOST_RATIO = 1.2
SCRAPE_EVERY = 500
"""How many requests there are between two scrapes."""


WORDS = ("seven", "lamps", "of", "the", "garden", "größe", "thé", "everybody", "冬", "сад", "a")
NAMES = ("Ada", "Zoë", "美咲", "Мария", "Łukasz", "José Ángel Martínez", "Alexandra Montgomery")
CLIENTS = (
    "curl/8.5.0",
    "kube-probe/1.31",
    "python-requests/2.32.3",
    "Mozilla/5.0 (compatible; bot/2.1; +http://bot.example/about.html)",
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
)

Send = Callable[[Target, Shot], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack both, print what came of it, and return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.stress.attacks.million", description=__doc__
    )
    parser.add_argument("--requests", type=int, default=1_000_000, help="to each framework")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("flask", "quart"), help="attack this one, print JSON")
    options = parser.parse_args(arguments)
    if options.only:
        print(json.dumps(attack(options.only, options.requests, options.seed)))
        return 0
    command = [sys.executable, "-m", "tests.stress.attacks.million"]
    command += [f"--requests={options.requests}", f"--seed={options.seed}"]
    start = perf_counter()
    found = {
        # One after the other: at once they would measure what they do to each other's caches.
        name: json.loads(subprocess.check_output([*command, f"--only={name}"]))
        for name in ("flask", "quart")
    }
    print(f"seed {options.seed}, {perf_counter() - start:.0f} s")
    broken = [promise for name in found for promise in _report(name, found[name])]
    return 1 if broken else 0


def attack(name: str, requests: int, seed: int) -> dict[str, Any]:
    """Attack one framework's service and return what was measured."""
    logging.disable()
    arsenal, send = Arsenal(seed), SENDERS[name]()
    services = _fill(name, send, arsenal)
    attacked = services["attacked"]
    before = _resident()
    for number in range(requests):
        shot = arsenal.shot()
        attacked.books.answered(shot, send(attacked, shot))
        if number % SCRAPE_EVERY == 0:
            _scrape(attacked)
    after = _resident()
    ordinary = services["ordinary"].registry
    times = _compare(
        {
            **{kind: _scraping(service.registry) for kind, service in services.items()},
            "protobuf": _scraping(ordinary, accept=PROTOBUF),
            "protobuf attacked": _scraping(attacked.registry, accept=PROTOBUF),
            "names": _scraping(ordinary, names=_many_names()),
            "accept": _scraping(ordinary, accept=_long_accept()),
        }
    )
    return {
        "requests": sum(attacked.books.requests.values()),
        "counted": _counted(attacked),
        "native": native_histogram(DURATION, registry=attacked.registry).count,
        "growth": (after - before) / 2**20,
        "memory": before / 2**20,
        "sizes": _sizes(attacked.registry),
        "ordinary sizes": _sizes(ordinary),
        "times": times,
    }


def _report(name: str, found: dict[str, Any]) -> Iterator[str]:
    """Print the findings; yield the broken promises."""
    times, sizes = found["times"], found["sizes"]
    normal = times["ordinary"]
    largest = max(sizes, key=sizes.__getitem__)
    rows: list[tuple[str, str, bool | None]] = [
        ("requests answered", str(found["requests"]), None),
        ("requests counted", f"{found['counted']:.0f}", found["counted"] == found["requests"]),
        (
            "requests in native buckets",
            str(found["native"]),
            found["native"] == found["requests"],
        ),
        ("memory before, MiB", f"{found['memory']:.1f}", None),
        (
            f"memory growth, MiB (most {MOST_GROWTH})",
            f"{found['growth']:.2f}",
            found["growth"] < MOST_GROWTH,
        ),
        (
            f"label sets of the largest family (most {MAX_SERIES})",
            f"{sizes[largest]} ({largest})",
            sizes[largest] <= MAX_SERIES,
        ),
        (
            f"a scrape of {found['ordinary sizes'][largest]} ordinary label sets, ms",
            f"{normal * 1e3:.2f}",
            None,
        ),
        ("one of another such service (null control)", f"{times['control'] / normal:.2f}x", None),
    ]
    for kind, title in (
        ("attacked", "a scrape after the attack"),
        ("names", "a scrape with 10,000 name[]"),
        ("accept", "a scrape with an Accept of 1 MB"),
    ):
        ratio = times[kind] / normal
        rows.append((f"{title} (most {MOST_RATIO}x)", f"{ratio:.2f}x", ratio <= MOST_RATIO))
    ratio = times["protobuf attacked"] / times["protobuf"]
    title = "one in protobuf after the attack"
    rows.append((f"{title} (most {MOST_RATIO}x)", f"{ratio:.2f}x", ratio <= MOST_RATIO))
    rows.append(
        (f"one where every path has {LONGEST} bytes", f"{times['longest'] / normal:.2f}x", None)
    )
    print(f"\n{name}")
    for title, value, held in rows:
        verdict = "" if held is None else "  held" if held else "  BROKEN"
        print(f"  {title:<52} {value}{verdict}")
        if held is False:
            yield title


def _make(name: str) -> Target:
    make = flask_target if name == "flask" else quart_target
    return make(max_series=MAX_SERIES, in_progress=True, native_histograms=True)


def _fill(name: str, send: Send, arsenal: Arsenal) -> dict[str, Target]:
    """Return services that have as many label sets as there is room for, and one to attack.

    Meanwhile another one is attacked: alone, their label sets would be adjacent in memory, and
    faster to scrape than those of a service that has worked for a while.
    """
    services = {kind: _make(name) for kind in ("attacked", "ordinary", "control", "longest")}
    busy = _make(name)
    for number in range(3 * MAX_SERIES):
        send(busy, arsenal.shot())
        for kind, make_shot in (
            ("ordinary", _ordinary),
            ("control", _ordinary),
            ("longest", _longest),
        ):
            send(services[kind], make_shot(number))
        if number % SCRAPE_EVERY == 0:
            for service in services.values():
                _scrape(service)
    for number in range(1000):
        shot = _ordinary(number % 10)
        services["attacked"].books.answered(shot, send(services["attacked"], shot))
    for service in services.values():
        _scrape(service)
    return services


def _scrape(service: Target) -> None:
    for accept in (None, OPENMETRICS, PROTOBUF):
        exposition.answer(service.registry, accept)


def _flask_sender() -> Send:
    return lambda target, shot: send_wsgi(target.app, shot).status


def _quart_sender() -> Send:
    loop = asyncio.new_event_loop()
    return lambda target, shot: loop.run_until_complete(send_asgi(target.app, shot)).status


SENDERS = {"flask": _flask_sender, "quart": _quart_sender}


def _ordinary(number: int) -> Shot:
    """Return a request as services get them: texts of the program's and its users' making."""
    slug = "-".join(WORDS[number * step % len(WORDS)] for step in range(1, 2 + number % 9))
    query = f"who={NAMES[number % len(NAMES)]} {number}".encode()
    client = CLIENTS[number % len(CLIENTS)].encode()
    return Shot(
        "GET",
        f"/items/{slug}-{number}".encode(),
        query,
        (("host", b"localhost"), ("x-client", client)),
    )


def _longest(number: int) -> Shot:
    return _ordinary(number)._replace(path=(b"/items/%d/" % number).ljust(LONGEST, b"x"))


def _resident() -> int:
    """Return the bytes of this process that are in memory, without what the allocator can spare."""
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _scraping(
    registry: CollectorRegistry, accept: str | None = None, names: list[str] | None = None
) -> Callable[[], object]:
    return lambda: exposition.answer(registry, accept, None, names)


def _many_names() -> list[str]:
    families = (DURATION, "orders", "flask_http_request")
    suffixes = ("_bucket", "_count", "_sum", "_total", "_created")
    real = [family + suffix for family in families for suffix in suffixes]
    return [*real, *(f"name_{number}" for number in range(10_000 - len(real)))]


def _long_accept() -> str:
    return "text/plain;version=9.9.9.9.9," * (2**20 // 29)


def _compare(scrapes: dict[str, Callable[[], object]], rounds: int = 61) -> dict[str, float]:
    """Return the median seconds of each; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in scrapes}
    order, dice = list(scrapes), random.Random(0)
    for _ in range(rounds):
        dice.shuffle(order)
        for name in order:
            start = thread_time()
            scrapes[name]()
            times[name].append(thread_time() - start)
    return {name: median(seconds[1:]) for name, seconds in times.items()}


def _counted(target: Target) -> float:
    return sum(
        sample.value
        for metric in target.registry.collect()
        for sample in metric.samples
        if sample.name == "flask_http_request_total"
    )


def _sizes(registry: CollectorRegistry) -> dict[str, int]:
    """Return how many label sets each family has."""
    return {
        metric.name: len({tuple(v for k, v in s.labels.items() if k != "le") for s in samples})
        for metric in registry.collect()
        if (samples := metric.samples)
    }


if __name__ == "__main__":
    sys.exit(main())
