"""Optional requirements of tests: without them tests are skipped, in CI they fail."""

from __future__ import annotations

import importlib
import os
import shutil
from typing import Any, NoReturn

import pytest

from .paths import SCRIPTS

PATH = os.pathsep.join([str(SCRIPTS), os.environ["PATH"]])
"""Where programs are: those of this virtual environment first."""

WHERE = {
    "chromium": " (Debian's package chromium)",
    "haproxy": " (Debian's package haproxy)",
    "nginx": " (Debian's package nginx-light)",
    "prometheus": " (Debian's package prometheus)",
    "promtool": " (Debian's package prometheus)",
    "tmux": " (Debian's package tmux)",
    "uwsgi": " (make uwsgi)",
}
"""Where programs are that no group of pyproject.toml has."""

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")


def missing(what: str) -> NoReturn:
    """Skip a test because something is missing; in CI, fail it."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def program(*names: str) -> str:
    """Return the path of the first of these programs that is installed; see `missing`."""
    for name in names:
        if path := shutil.which(name, path=PATH):
            return path
    missing(f"{names[0]} is not installed{WHERE.get(names[0], '')}")


def module(name: str) -> Any:
    """Import a module of a package that one of the dependency groups has; see `missing`."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(f"{name} is not installed")
