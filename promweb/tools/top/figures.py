"""Numbers as short texts for a terminal: units, shares, sparklines."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...scrapes.tally import Tally

__all__ = ["duration", "number", "quantile", "share", "size", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"
_NOTHING = "-"


def number(value: float | None) -> str:
    """Return a count or a rate in a few characters."""
    if value is None:
        return _NOTHING
    if abs(value) < 1:
        return f"{value:.2g}"
    for limit, divisor, unit in (
        (1e4, 1, ""),
        (1e6, 1e3, "k"),
        (1e9, 1e6, "M"),
        (1e12, 1e9, "G"),
    ):
        if abs(value) < limit:
            scaled = value / divisor
            places = 0 if scaled == round(scaled) or abs(scaled) >= 100 else 1
            return f"{scaled:.{places}f}{unit}"
    return f"{value:.0e}"


def share(value: float | None) -> str:
    """Return a share of one as a percentage; only 0 and 100 have no decimal."""
    if value is None:
        return _NOTHING
    return f"{100 * value:.0f}%" if value in (0, 1) else f"{100 * value:.1f}%"


def duration(seconds: float | None) -> str:
    """Return a time with at least three digits, so that times in a column line up."""
    if seconds is None:
        return _NOTHING
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (1e4, 1.0, "s")):
        if seconds < limit:
            value = seconds * factor
            places = 0 if value >= 100 or not value else 1 if value >= 10 else 2
            return f"{value:.{places}f} {unit}"
    return f"{seconds / 3600:.0f} h"


def quantile(tally: Tally, q: float) -> str:
    """Return a quantile, marked if it lies above the highest bucket."""
    seconds = tally.quantile(q)
    at_least = seconds is not None and seconds == tally.highest_bound
    return f"≥{duration(seconds)}" if at_least else duration(seconds)


def size(value: float | None) -> str:
    """Return bytes in MiB or GiB."""
    if value is None:
        return _NOTHING
    return f"{value / 2**20:.0f} MiB" if abs(value) < 2**30 else f"{value / 2**30:.1f} GiB"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """Draw the last values from zero to the greatest of them, one column each.

    Missing values and NaN are gaps.
    """
    shown = [
        None if value is None or not math.isfinite(value) else max(value, 0.0)
        for value in (values[-width:] if width > 0 else ())
    ]
    highest = max((value for value in shown if value is not None), default=0.0) or 1.0
    last = len(_BARS) - 1
    return "".join(
        " " if value is None else _BARS[round(last * (value / highest))] for value in shown
    )
