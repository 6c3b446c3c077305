"""Turning multiprocess mode on: the directory, and what prometheus_client does."""

from __future__ import annotations

import os
import threading

from . import client
from .storage import FileStorage

__all__ = ["storage_of"]

_storages: dict[str, FileStorage] = {}
_lock = threading.Lock()


def storage_of(directory: str) -> FileStorage:
    """Return this process's storage in a directory, which is made if it is not there."""
    with _lock:
        storage = _storages.get(directory)
        if storage is None:
            os.makedirs(directory, exist_ok=True)
            storage = _storages[directory] = FileStorage(directory)
        client.share_new_metrics()
        return storage
