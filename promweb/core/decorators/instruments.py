"""The kinds of instruments.

`counter`, `gauge`, `histogram` and `summary` of a metrics object make them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .blocks import Block, ExceptionCounter, InProgress, Setter, Timer
from .instrument import Instrument

if TYPE_CHECKING:
    from typing_extensions import Never

__all__ = ["Counter", "Gauge", "Histogram", "Summary"]

_new = object.__new__


class Counter(Instrument):
    """A number that only goes up.

    For example:

        orders = metrics.counter("orders", "Orders taken", labelnames=["kind"])
        orders.inc(kind="gift")
    """

    __slots__ = ()

    def inc(self, /, amount: float = 1.0, *surplus: Never, **labels: object) -> None:
        """Count up by an amount of at least 0, 1 unless given.

        A wrong amount or label records nothing, and is logged once (`Instrument`).

            orders.inc(3, kind="gift")
        """
        if surplus:
            self._misplace(surplus[0])
            return
        self._record(amount, labels, 0.0)

    def count_exceptions(
        self,
        exception: type[BaseException] | tuple[type[BaseException], ...] = Exception,
        /,
        *surplus: Never,
        **labels: object,
    ) -> Block:
        """Count the exceptions that leave a block, or a function that it decorates.

        For example:

            with orders.count_exceptions(ValueError, kind="gift"):
                ...
        """
        classes = exception if isinstance(exception, tuple) else (exception,)
        wrong = (*(one for one in classes if not _is_exception(one)), *surplus)
        if wrong:
            why = "give classes of exceptions, and labels by name"
            return self._misplace_in("count_exceptions", wrong[0], why=why).count_exceptions()
        return ExceptionCounter(self._direct, labels, self._lookup(labels), exception)


class Gauge(Instrument):
    """A number that goes up and down, or is set.

    For example:

        queue = metrics.gauge("queue_length", "Jobs that wait")
        queue.set(4)
    """

    __slots__ = ()

    def inc(self, /, amount: float = 1.0, *surplus: Never, **labels: object) -> None:
        """Count up by an amount, 1 unless given.

        For example:

            queue.inc()
        """
        if surplus:
            self._misplace(surplus[0])
            return
        self._record(amount, labels)

    def dec(self, /, amount: float = 1.0, *surplus: Never, **labels: object) -> None:
        """Count down by an amount, 1 unless given.

        For example:

            queue.dec(2)
        """
        if surplus:
            self._misplace(surplus[0])
            return
        try:
            negative = -amount
        except Exception:
            negative = amount  # no number, which is reported
        self._record(negative, labels)

    def set(self, /, value: float, *surplus: Never, **labels: object) -> None:
        """Set the number, which may be NaN.

        For example:

            queue.set(4)
        """
        if surplus:
            self._misplace(surplus[0])
            return
        child = self._only
        if labels or child is None:
            child = self._find(labels, value)
        problem = None
        try:
            if value >= 0 or value < 0 or value != value:
                child.set(value)
                return
        except Exception as error:
            problem = error
        self._direct.refuse(value, problem)

    def set_to_current_time(self, /, *surplus: Never, **labels: object) -> None:
        """Set the number to the present Unix time, in seconds.

        For example:

            last_success.set_to_current_time()
        """
        self.set(time.time(), *surplus, **labels)

    def track_inprogress(self, /, *surplus: Never, **labels: object) -> Block:
        """Count up while a block, or a function that it decorates, runs.

        For example:

            with queue.track_inprogress():
                ...
        """
        if surplus:
            return self._misplace_in("track_inprogress", surplus[0]).track_inprogress()
        return InProgress(self._direct, labels, self._lookup(labels))

    def time(self, /, *surplus: Never, **labels: object) -> Block:
        """Set the gauge to the seconds that a block, or a function that it decorates, took.

        For example:

            with last_run.time():
                ...
        """
        if surplus:
            return self._misplace_in("time", surplus[0]).time()
        return Setter(self._direct, labels, self._lookup(labels))


class _Observer(Instrument):
    __slots__ = ()

    def observe(self, /, amount: float, *surplus: Never, **labels: object) -> None:
        """Observe an amount, in the unit of the metric.

        For example:

            rows.observe(17)
        """
        if surplus:
            self._misplace(surplus[0])
            return
        self._record(amount, labels)

    def time(self, /, *surplus: Never, **labels: object) -> Timer:
        """Observe the seconds of a block, or of a function that it decorates.

        For example:

            with query_seconds.time(query="orders"):
                ...
        """
        if surplus:
            return self._misplace_in("time", surplus[0]).time()
        known = self._only
        if labels or known is None:
            known = self._lookup(labels)
        timer = _new(Timer)  # its constructor would take a third of the time
        timer._instrument, timer._labels, timer._known = self._direct, labels, known
        return timer


def _is_exception(given: object) -> bool:
    return isinstance(given, type) and issubclass(given, BaseException)


class Histogram(_Observer):
    """Counts observations in buckets.

    For example:

        rows = metrics.histogram("query_rows", "Rows of a query", buckets=(1, 10, 100))
        rows.observe(17)
    """

    __slots__ = ()


class Summary(_Observer):
    """Counts observations and adds them up.

    For example:

        sizes = metrics.summary("photo_bytes", "Sizes of photos", unit="bytes")
        sizes.observe(20_480)
    """

    __slots__ = ()
