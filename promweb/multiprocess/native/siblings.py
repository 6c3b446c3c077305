"""Files of native buckets: each belongs to a file of histograms, and counts only beside it.

Scripts remove `*.db` when a service starts. The native buckets that they leave are orphans.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..files.file_names import NATIVE, NATIVE_SUFFIX, SUFFIX
from ..files.listing import File

__all__ = ["name_beside", "orphans"]

_HISTOGRAM = "histogram"


def name_beside(histogram: str) -> str:
    """Return the name of the file of native buckets beside a file of histograms."""
    return NATIVE + histogram.removeprefix(_HISTOGRAM).removesuffix(SUFFIX) + NATIVE_SUFFIX


def orphans(files: Iterable[File]) -> frozenset[tuple[str, int]]:
    """Return the names and inodes of native buckets whose histograms are gone.

    A compacted file is an orphan if its run has no file of histograms left: compaction writes the
    native buckets first and the histograms after them.
    """
    files = list(files)
    histograms = [file.name for file in files if file.name.kind == _HISTOGRAM]
    beside = {name_beside(name.name) for name in histograms}
    runs = {(name.run, name.group.registry) for name in histograms}
    return frozenset(
        file.identity
        for file in files
        if file.name.kind == NATIVE
        and file.name.name not in beside
        and not (file.name.is_compacted and (file.name.run, file.name.group.registry) in runs)
    )
