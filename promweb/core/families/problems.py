"""Problems while serving: logged once, counted always, never raised."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..options import frames_of_promweb
from .kinds import CounterFamily
from .limits import MAX_LABEL_BYTES

__all__ = ["Problems", "logger", "strictly", "tell_disabled"]

logger = logging.getLogger("promweb")

_MOST_PLACES = 100
"""Lines with wrong calls that are logged; templates and `exec` make lines without end."""

_strict: list[object] = []
"""Running tests in which a wrong call of an instrument raises."""


@contextmanager
def strictly() -> Iterator[None]:
    """Make wrong calls of instruments raise meanwhile, for all registries."""
    _strict.append(None)
    try:
        yield
    finally:
        _strict.pop()


def tell_disabled() -> None:
    """Log, once in a process, that nothing is measured."""
    if not _told:
        _told.append(None)
        _log(logging.WARNING, "PROMWEB_DISABLED is set: promweb measures and serves nothing.")


_told: list[object] = []


class Problems:
    """The self-metrics of one registry; each appears once it has counted something.

    Their label sets are bounded by the metrics and labels that the program defines.
    """

    def __init__(self) -> None:
        self.label_errors = CounterFamily(
            "promweb_label_errors_total",
            "Label values that could not be computed, and wrong calls of instruments.",
            ("metric", "label"),
        )
        self.overflows = CounterFamily(
            "promweb_series_folded_total",
            "Recordings whose label values became <overflow>: a set too many, or a value too long.",
            ("metric",),
        )
        self.queue_times = CounterFamily(
            "promweb_queue_times_ignored_total",
            "Headers of queue_time that promweb ignored: unreadable, in the future, or too old.",
            ("reason",),
        )
        self.families = (self.label_errors, self.overflows, self.queue_times)
        for family in self.families:
            family.hidden_while_empty = True
        self._logged: dict[tuple[str, ...], object] = {}
        self._misuses: dict[tuple[str, ...], object] = {}

    def label_error(self, metric: str, label: str) -> None:
        """Count a label callable that raised; log the exception being handled the first time."""
        _count(self.label_errors, metric, label)
        if self._first(metric, label):
            _log(
                logging.ERROR,
                "The label %r of the metric %r could not be computed; its value is <error>. "
                "This is logged once; promweb_label_errors_total counts every time.",
                label,
                metric,
            )

    def misused(self, metric: str, label: str, error: Exception) -> None:
        """Count a wrong call of an instrument, and log the first one of each line of the program.

        `label` is empty for a wrong amount. Raises the error in tests that want that.
        """
        if _strict:
            raise error
        _count(self.label_errors, metric, label)
        if len(self._misuses) >= _MOST_PLACES:
            return
        call = sys._getframe(frames_of_promweb() - 1)
        place = f"{call.f_code.co_filename}:{call.f_lineno}"
        if _is_new((metric, label, place), self._misuses):
            _log(
                logging.WARNING,
                "%s. The call at %s recorded nothing. This is logged once; "
                "promweb_label_errors_total counts every time.",
                error,
                place,
            )

    def overflowed(self, metric: str, too_long: bool) -> None:
        """Count a recording that went to `<overflow>`; log the first of each reason."""
        _count(self.overflows, metric)
        if too_long:
            if self._first(metric, "too long", ""):
                _log(
                    logging.WARNING,
                    "A label value of the metric %r has more than %d bytes and is recorded "
                    "as <overflow>. Make the label's function return something shorter.",
                    metric,
                    MAX_LABEL_BYTES,
                )
        elif self._first(metric):
            _log(
                logging.WARNING,
                "The metric %r reached max_series; new label sets are recorded as <overflow>. "
                "Group by something with fewer values (url_rule, endpoint) or raise max_series.",
                metric,
            )

    def queue_time_ignored(self, reason: str) -> None:
        """Count a header of `queue_time` that is left out: `unreadable`, `future` or `old`."""
        _count(self.queue_times, reason)

    def warn(self, message: str) -> None:
        """Log a warning about how the program is set up."""
        if self._first("warning", message, ""):
            _log(logging.WARNING, message)

    def tell(self, message: str) -> None:
        """Log a hint once; nothing is wrong."""
        if self._first("information", message, ""):
            _log(logging.INFO, message)

    def failed(self, what: str) -> None:
        """Log, once per `what`, an exception that promweb caught so that the request goes on."""
        if self._first("failed", what, ""):
            _log(logging.ERROR, "promweb could not %s; the request was not affected.", what)

    def _first(self, *key: str) -> bool:
        return _is_new(key, self._logged)


def _is_new(key: tuple[str, ...], known: dict[tuple[str, ...], object]) -> bool:
    """Add a key to those that are known; return True in only one of several threads."""
    mine = object()
    return known.setdefault(key, mine) is mine


def _count(family: CounterFamily, *values: str) -> None:
    with suppress(Exception):  # there may be no memory
        family.child(values).inc()


def _log(level: int, message: str, *args: object) -> None:
    """Log a message; an error with the exception being handled. A handler may raise."""
    with suppress(Exception):
        logger.log(level, message, *args, exc_info=level == logging.ERROR)
