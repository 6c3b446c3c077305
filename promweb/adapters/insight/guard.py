"""Watches one event loop for a while, for tests, and asserts that nothing blocked it."""

from __future__ import annotations

from types import TracebackType

from .lanes import LoopLane
from .watchdog import Report, Watchdog

__all__ = ["LoopFree", "LoopGuard"]

_BEATS = 5
"""Beats within the longest time that is allowed, so that little longer ones are seen."""


class LoopGuard:
    """Watches the running event loop. Raises RuntimeError if there is none."""

    def __init__(self, most: float) -> None:
        self.reports: list[Report] = []
        """The blocks of more than `most` seconds."""
        self._lane = LoopLane(most, most / _BEATS)
        self._watchdog = Watchdog(self.reports.append, tells_unseen=True)
        self._watchdog.watch(self._lane)

    def stop(self) -> None:
        """Stop watching."""
        beat = self._lane.beat
        beat.beat()  # what blocked until now let no beat come
        beat.stop()
        self._watchdog.join()


class LoopFree:
    """A block of `assert_loop_free`.

    It raises AssertionError when it ends if something held the event loop:

        async with assert_loop_free():
            await client.get("/orders")
    """

    def __init__(self, most: float) -> None:
        if not most > 0:
            raise ValueError(f"most={most!r}: must be a number of seconds above 0")
        self._most = most

    def __enter__(self) -> None:
        try:
            self._guard = LoopGuard(self._most)
        except RuntimeError as error:
            raise RuntimeError(
                "assert_loop_free() watches the running event loop, and there is none; use it in "
                "a coroutine"
            ) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        __tracebackhide__ = True  # pytest shows the line of the test
        self._guard.stop()
        if error is None and self._guard.reports:
            blocks = [f"\n  for {one.seconds:.2f} s at {one.place}" for one in self._guard.reports]
            raise AssertionError(
                f"The event loop was blocked for more than {self._most:g} s:{''.join(blocks)}"
            )

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        __tracebackhide__ = True
        self.__exit__(kind, error, traceback)
