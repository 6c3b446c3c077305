"""uWSGI, which forks its workers without telling Python: promweb is told by uWSGI itself."""

from __future__ import annotations

import sys
from typing import Any

from ..core import forking

__all__ = ["tell_forks"]


def tell_forks(uwsgi: Any) -> None:
    """Have uWSGI tell of its workers; `uwsgi` is the module that exists inside of it only.

    It calls one function. `uwsgidecorators` puts a list of them in its place when it is imported,
    so it is imported first.
    """
    try:
        from uwsgidecorators import postfork
    except Exception:  # not installed, or it refuses to work without a master process
        previous = getattr(uwsgi, "post_fork_hook", None)

        def hook() -> None:
            forking.look()
            if previous is not None:
                previous()

        uwsgi.post_fork_hook = hook
    else:
        postfork(forking.look)


if "uwsgi" in sys.modules:
    tell_forks(sys.modules["uwsgi"])
