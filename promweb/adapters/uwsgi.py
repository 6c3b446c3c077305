"""uWSGI forks its workers without telling Python; this hook lets uWSGI tell promweb."""

from __future__ import annotations

import sys
from typing import Any

from ..core import forking

__all__ = ["tell_forks"]


def tell_forks(uwsgi: Any) -> None:
    """Make uWSGI report its workers; `uwsgi` is the module that exists only inside of it.

    uWSGI calls one function. `uwsgidecorators` replaces that by a list of functions when it is
    imported, so it is imported first.
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
