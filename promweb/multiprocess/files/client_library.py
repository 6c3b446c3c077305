"""What the installed prometheus_client does in multiprocess mode; the only user of its insides.

The format of its files has changed: before 0.16 a key had no help text, before 0.18 a number had
no timestamp. A reader of the one format gets nonsense from the other, so promweb writes what the
installed version writes.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from prometheus_client import REGISTRY, values
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.mmap_dict import MmapedDict, mmap_key

__all__ = ["HAS_TIMESTAMPS", "UNKNOWN_HELP", "is_shared", "key_of", "read_key", "share_new_metrics"]

HAS_TIMESTAMPS = "timestamp" in inspect.signature(MmapedDict.write_value).parameters
"""Whether a number is followed by the time that it was set at."""

_HAS_HELP = "help_text" in inspect.signature(mmap_key).parameters

_decode = json.JSONDecoder().raw_decode

UNKNOWN_HELP = "Multiprocess metric"
"""The help text of a metric whose key has none."""


def key_of(metric: str, sample: str, labels: Mapping[str, str], help: str) -> bytes:
    """Return the key of a number."""
    arguments: list[Any] = [metric, sample, list(labels), list(labels.values())]
    return mmap_key(*arguments, *([help] if _HAS_HELP else [])).encode()


def read_key(key: bytes) -> tuple[str, str, dict[str, str], str]:
    """Return metric name, sample name, labels and help text. Raises ValueError for nonsense."""
    text = key.decode()
    parts, end = _decode(text)
    try:
        metric, sample, labels, *help = parts
        "".join((metric, sample, *help, *labels.values()))
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not a key: {error}") from None
    if end != len(text) or len(help) > 1:
        raise ValueError("not a key")
    return metric, sample, labels, *(help or (UNKNOWN_HELP,))


def is_shared() -> bool:
    """Tell whether prometheus_client's new metrics keep their numbers in files."""
    return bool(getattr(values.ValueClass, "_multiprocess", False))


def share_new_metrics() -> list[str]:
    """Make metrics of prometheus_client that are created from now on keep their numbers in files.

    prometheus_client decides this once, when it is imported. Returns the names of metrics in its
    global registry that were created before; scrapes will not show their numbers.
    """
    if is_shared():
        return []
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    collectors = getattr(REGISTRY, "_collector_to_names", {})
    return [metric._name for metric in collectors if isinstance(metric, MetricWrapperBase)]
