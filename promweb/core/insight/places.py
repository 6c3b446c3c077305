"""Where code runs, as a log line says it: the frame of the program, and the innermost one."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

__all__ = ["Place", "is_waiting", "place_of"]

_PATHS = sysconfig.get_paths()
_LIBRARIES = tuple(
    {
        os.path.realpath(path) + os.sep
        for path in (
            *(_PATHS[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
            str(Path(__file__).parents[2]),
        )
    }
)
"""The directories of code that no program has written."""

_LOOPS = ("_run", "_run_once", "run", "run_forever", "run_until_complete", "unrolled_run")
"""The functions in which event loops call what they run; with uvloop, those that call uvloop."""
_LOOP_MODULES = ("asyncio", "trio", "uvloop")

_WAITING = ("selectors", "trio._core._io_epoll", "trio._core._io_kqueue")
"""The modules in which event loops wait for sockets and timers."""

_TIMED = "promweb.adapters.insight.timing"
"""The module within which the steps of requests run."""


class Place(NamedTuple):
    """A line of the program, and where it led to."""

    line: str
    """`shop.py:18`."""
    innermost: str
    """`readinto at socket.py:706`; empty if the line itself is the innermost one."""

    def __str__(self) -> str:
        return f"{self.line} ({self.innermost})" if self.innermost else self.line


def is_waiting(frame: FrameType) -> bool:
    """Tell whether an event loop waits, so that no code blocks it: it only gets no processor.

    uvloop waits in the function that was asked to run it.
    """
    if _is_loop(frame):
        return frame.f_code.co_name != "_run"  # which calls functions that have no frame
    outer = frame.f_back
    return outer is not None and frame.f_globals.get("__name__") in _WAITING and _is_loop(outer)


def place_of(frame: FrameType, root: str = "") -> Place:
    """Return the place of a frame within what an event loop runs.

    It is the innermost line of the program, or of a library if there is no other. `root` is the
    directory of the application, which may be installed among libraries itself.
    """
    frames = list(_within_the_loop(frame))
    own = next((one for one in frames if _is_own(one, root)), frames[0])
    if own is frames[0]:
        return Place(_line(own), "")
    return Place(_line(own), f"{frames[0].f_code.co_name} at {_line(frames[0])}")


def _within_the_loop(frame: FrameType) -> Iterator[FrameType]:
    """Yield the frames from the innermost one up to what the event loop called."""
    yield frame
    outer = frame.f_back
    while outer is not None:
        if outer.f_globals.get("__name__", "") == _TIMED or _is_loop(outer):
            return
        yield outer
        outer = outer.f_back


def _is_loop(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__", "")
    return frame.f_code.co_name in _LOOPS and module.partition(".")[0] in _LOOP_MODULES


def _is_own(frame: FrameType, root: str) -> bool:
    file = frame.f_code.co_filename
    if file.startswith("<"):
        return False
    path = os.path.realpath(file)
    if not path.startswith(_LIBRARIES):
        return True
    root = os.path.realpath(root) + os.sep if root else ""
    is_installed = root.startswith(_LIBRARIES) and root not in _LIBRARIES
    return is_installed and path.startswith(root)


def _line(frame: FrameType) -> str:
    """Return file and line, the file from the directory on that it was imported from."""
    file = frame.f_code.co_filename
    fitting = [
        directory
        for directory in (*sys.path, os.getcwd())
        if directory and file.startswith(directory.rstrip(os.sep) + os.sep)
    ]
    name = os.path.relpath(file, max(fitting, key=len)) if fitting else os.path.basename(file)
    return f"{name}:{frame.f_lineno}"
