"""Metrics of several worker processes: in files of one directory, served by any of them.

from promweb.multiprocess import enable
enable()  # before metrics are made; or set PROMETHEUS_MULTIPROC_DIR
"""

from __future__ import annotations

from .setup import enable, mark_process_dead

__all__ = ["enable", "mark_process_dead"]
