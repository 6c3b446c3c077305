"""Importing an application without effects outside of this process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ...core.families.storage import DIRECTORY_VARIABLE, shared_directory

__all__ = ["sharing_nothing"]


@contextmanager
def sharing_nothing() -> Iterator[None]:
    """Give an application that is imported its own directory for multiprocess mode."""
    if shared_directory() is None:
        yield
        return
    before = os.environ.get(DIRECTORY_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="promweb-") as directory:
        os.environ[DIRECTORY_VARIABLE] = directory
        try:
            yield
        finally:
            del os.environ[DIRECTORY_VARIABLE]
            if before is not None:
                os.environ[DIRECTORY_VARIABLE] = before
