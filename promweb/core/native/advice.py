"""The settings that make a Prometheus take native histograms, by its version."""

from __future__ import annotations

__all__ = ["FIRST", "STABLE", "classic_key", "how_to_keep_classic", "how_to_take", "in_short"]

Version = tuple[int, int]

FIRST: Version = (2, 40)
STABLE: Version = (3, 8)
"""From here on a scrape configuration turns them on; from 3.9 on the flag does nothing."""

_CLASSIC: Version = (2, 45)
_FLAG = "--enable-feature=native-histograms"
_STABLE_KEY = "scrape_native_histograms: true"


def how_to_take(version: Version) -> str:
    """Return advice on how to make a Prometheus take native histograms."""
    if version >= STABLE:
        return f"Set {_STABLE_KEY} in the scrape configuration."
    if version >= FIRST:
        return f"Start Prometheus with {_FLAG}."
    return "Use Prometheus 2.40 or newer."


def classic_key(version: Version) -> str | None:
    """Return the setting that keeps the classic series; None if there is none."""
    if version < _CLASSIC:
        return None
    return "scrape_classic_histograms" if version < (3, 0) else "always_scrape_classic_histograms"


def how_to_keep_classic(version: Version) -> str:
    """Return advice on how to keep the classic series when native histograms are on."""
    key = classic_key(version)
    if key is None:
        return (
            "Prometheus before 2.45 has no setting for that: use a newer one, or move dashboards "
            "and alerts first (promweb dashboard --native, promweb rules --native)."
        )
    return f"Set {key}: true in the scrape configuration, until dashboards and alerts have moved."


def in_short() -> str:
    """Return the advice for all versions."""
    return (
        f"Prometheus 2.40 to 3.7 takes native histograms with {_FLAG}, 3.8 and newer with "
        f"{_STABLE_KEY} in the scrape configuration. It then drops the series _bucket, _count and "
        "_sum of these histograms unless the scrape configuration has "
        "always_scrape_classic_histograms: true (scrape_classic_histograms from 2.45 to 2.x; "
        "before 2.45 nothing keeps them)."
    )
