"""Files of native buckets: each belongs to a file of histograms, and counts only beside it.

Scripts remove `*.db` when a service starts. What they leave here is of no worker any more.
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

    A compacted file is one where no file of histograms of its run is left: that of the histograms
    is written after that of the native buckets.
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
