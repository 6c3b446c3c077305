"""Lists the files of numbers in a directory."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from . import file_names
from .file_names import FileName

__all__ = ["File", "listing"]


class File(NamedTuple):
    """A file of numbers in a directory."""

    name: FileName
    inode: int
    size: int
    changed: float
    """When it was modified, as Unix time."""

    @property
    def identity(self) -> tuple[str, int]:
        return self.name.name, self.inode


def listing(directory: str) -> tuple[list[File], list[tuple[str, int]]]:
    """Return the files of numbers, sorted by name, and the foreign files.

    A foreign file ends like a file of numbers, but its name does not parse; it is returned as its
    name and inode. Raises OSError if the directory cannot be read.
    """
    files: list[File] = []
    foreign: list[tuple[str, int]] = []
    with os.scandir(directory) as entries:
        for found in entries:
            if not found.name.endswith((file_names.SUFFIX, file_names.NATIVE_SUFFIX)):
                continue
            with suppress(FileNotFoundError):
                status = found.stat(follow_symlinks=False)
                name = file_names.parse(found.name)
                if name is None and found.name.endswith(file_names.SUFFIX):
                    foreign.append((found.name, status.st_ino))
                elif name is not None:
                    files.append(File(name, status.st_ino, status.st_size, status.st_mtime))
    return sorted(files), foreign
