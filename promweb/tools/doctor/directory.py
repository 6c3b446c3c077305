"""Checks the directory of multiprocess mode and the files in it. Only reads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress

from ...core.families.storage import DIRECTORY_VARIABLE
from ...deployment import network_file_system
from ...multiprocess.files.file_names import NATIVE
from ...multiprocess.files.keys import Keys
from ...multiprocess.files.listing import File, listing
from ...multiprocess.files.reading import Corrupt, FileReader
from ...multiprocess.lifecycle.processes import Living
from .findings import Findings, error, ok, warning

__all__ = ["MANY", "ROOM", "check_directory"]

MANY = 100
"""Files of dead workers: each scrape compacts them, so a few are normal."""

ROOM = 8 * 2**20
"""Bytes that a few workers write before they count anything."""

_CHOOSE = f"Set {DIRECTORY_VARIABLE} to a directory that every worker can write to."
_EACH = f"Give each service a directory of its own in {DIRECTORY_VARIABLE}."


def check_directory(path: str) -> Findings:
    """Check a directory that workers share."""
    if not os.path.exists(path):
        yield from _check_missing(path)
        return
    if not os.path.isdir(path):
        yield error(
            "directory", f"{path} is not a directory.", "Workers cannot share metrics.", _CHOOSE
        )
        return
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield error(
            "directory",
            f"{path} cannot be written to by this user.",
            "Each worker of this user shows only its own numbers.",
            _CHOOSE,
        )
        return
    if kind := network_file_system(path):
        yield warning(
            "network-file-system",
            f"{path} is on a network file system ({kind}).",
            "Recording waits for the network, and locks may not hold, so that promweb takes living "
            "workers for dead ones.",
            "Choose a directory on this machine, for example in /run or /tmp.",
        )
    if (room := shutil.disk_usage(path).free) < ROOM:
        yield error(
            "directory-full",
            f"{path} has {room // 1024:,} KiB left.",
            "A worker without room for its files counts nothing that a scrape shows.",
            "Free some space, or choose a directory on another file system.",
        )
    files, foreign = listing(path)
    living = Living(path)
    living.look_again(file.identity for file in files)
    alive = [
        file
        for file in files
        if not file.name.is_compacted and living.has(file.name, file.inode, file.changed)
    ]
    found = [
        *_check_dead(path, len([f for f in files if not f.name.is_compacted]) - len(alive)),
        *_check_programs(path, alive),
        *_check_content(path, files, [name for name, _ in foreign]),
    ]
    yield from found or [
        ok("directory", f"{path} can be written to and has {len(files)} files without problems.")
    ]


def _check_missing(path: str) -> Findings:
    parent = path
    while not os.path.exists(parent):
        parent = os.path.dirname(os.path.abspath(parent))
    if os.path.isdir(parent) and os.access(parent, os.W_OK | os.X_OK):
        yield warning(
            "directory",
            f"{path} does not exist.",
            "promweb creates it at start; prometheus_client alone does not, and fails.",
            f"Create it before the server starts: mkdir -p {path}",
        )
    else:
        yield error(
            "directory",
            f"{path} does not exist, and this user cannot create it in {parent}.",
            "Each worker will show only its own numbers.",
            _CHOOSE,
        )


def _check_dead(path: str, dead: int) -> Findings:
    if dead > MANY:
        yield warning(
            "dead-workers",
            f"{path} has {dead:,} files of workers that have ended.",
            "Every scrape reads them all. promweb compacts them at its next scrape, so either "
            "nothing scrapes this service, or something other than promweb answers.",
            "Scrape through promweb, or remove them while the server is stopped.",
        )


def _check_programs(path: str, alive: Sequence[File]) -> Findings:
    """Check that the living workers belong to one server, by their process groups."""
    groups: dict[int, str] = {}
    for pid in sorted({file.name.owner for file in alive if file.name.owner.isdecimal()}):
        with suppress(OSError):  # in another container, or already dead
            groups.setdefault(os.getpgid(int(pid)), pid)
    if len(groups) > 1:
        yield warning(
            "directory-shared",
            f"Processes of {len(groups)} programs write to {path}, such as "
            f"{' and '.join(list(groups.values())[:2])}.",
            "promweb adds their numbers up as if they were one service, and neither program can "
            "clean the directory when it starts.",
            _EACH,
        )


def _check_content(path: str, files: Sequence[File], foreign: Sequence[str]) -> Findings:
    keys = Keys()
    kinds: dict[str, set[str]] = {}
    bad = list(foreign)
    for file in files:
        try:
            reader = FileReader(os.path.join(path, file.name.name), keys)
            reader.update()
        except FileNotFoundError:
            continue
        except Corrupt as fault:
            bad.append(f"{file.name.name} ({fault})")
            continue
        if file.name.kind == NATIVE:
            continue  # others have the same metrics
        for key, _ in reader.entries():
            kinds.setdefault(key.metric, set()).add(file.name.kind.partition("_")[0])
    if bad:
        yield warning(
            "files",
            f"{path} has {len(bad)} files that cannot be read, such as {bad[0]}.",
            "promweb omits and counts them; prometheus_client's own reader fails because of them.",
            "Remove them while the server is stopped.",
        )
    for metric, found in sorted(kinds.items()):
        if len(found) > 1:
            yield error(
                "types",
                f"The metric {metric} is a {' and a '.join(sorted(found))} at the same time.",
                "Two programs share the directory, or two versions of one. Prometheus rejects or "
                "mixes up two types with one name.",
                _EACH,
            )
