"""The keys of the installed prometheus_client. Only this and `client_files` use its internals.

The format of its files has changed: before 0.16 a key had no help text, before 0.18 a number had
no timestamp. A reader of one format gets nonsense from the other, so promweb writes the format of
the installed version.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from prometheus_client.mmap_dict import MmapedDict, mmap_key

__all__ = ["HAS_TIMESTAMPS", "UNKNOWN_HELP", "key_of", "read_key"]

HAS_TIMESTAMPS = "timestamp" in inspect.signature(MmapedDict.write_value).parameters
"""Whether a number is followed by the time when it was set."""

_HAS_HELP = "help_text" in inspect.signature(mmap_key).parameters

_decode = json.JSONDecoder().raw_decode

UNKNOWN_HELP = "Multiprocess metric"
"""The help text of a metric whose key has none."""


def key_of(metric: str, sample: str, labels: Mapping[str, str], help: str) -> bytes:
    """Return the key of a number."""
    arguments: list[Any] = [metric, sample, list(labels), list(labels.values())]
    return mmap_key(*arguments, *([help] if _HAS_HELP else [])).encode()


def read_key(key: bytes) -> tuple[str, str, dict[str, str], str]:
    """Return metric name, sample name, labels and help text. Raises ValueError if malformed."""
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
