"""Threads that start together."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .waiting import DEADLINE


def in_threads(number: int, work: Callable[[int], object]) -> None:
    """Call `work` with 0, 1, ... in threads that start together; raise what one of them raised."""
    barrier, errors = threading.Barrier(number), list[BaseException]()

    def run(index: int) -> None:
        barrier.wait(DEADLINE)
        try:
            work(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
