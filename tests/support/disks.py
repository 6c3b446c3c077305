"""File systems of their own, for tests of full ones."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .needs import missing


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Path]:
    """Mount a file system of this size at a directory, as `mount` spells sizes."""
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    if mount is None or subprocess.run(command, capture_output=True).returncode:
        missing("a file system of its own needs root")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """Leave no room in a file system for a while."""
    fill(directory)
    yield
    (directory / "fill").unlink()


def fill(directory: Path) -> None:
    """Write until there is no room."""
    with open(directory / "fill", "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
