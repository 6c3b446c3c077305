"""Checks how a Prometheus treats native histograms: its version, flags and configuration.

Some settings lose series silently: the target stays up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ...core.native.advice import (
    FIRST,
    STABLE,
    classic_key,
    how_to_keep_classic,
    how_to_take,
)
from ...scrapes.parsing import ScrapeError
from ..terminal import needs
from .findings import Findings, error, ok, warning

__all__ = ["check_prometheus"]

_ZERO_INGESTION = "created-timestamp-zero-ingestion"
"""The feature that makes 2.50 and newer ask for protobuf as well."""

_JOBS = 5
"""How many jobs a message names."""


def check_prometheus(url: str, get: Callable[[str], Any]) -> Findings:
    """Check a server; `get` returns the data that a path of its API answers."""
    try:
        found = get("status/buildinfo")["version"]
        flags: Mapping[str, str] = get("status/flags")
        text = get("status/config")["yaml"]
    except (ScrapeError, KeyError, TypeError, ValueError) as problem:
        yield error(
            "prometheus",
            f"{url} does not answer like a Prometheus: {problem}",
            "promweb cannot check it.",
            "Give the URL of its web page, for example http://localhost:9090.",
        )
        return
    numbers = re.match(r"(\d+)\.(\d+)", found)
    if numbers is None:
        yield error(
            "prometheus",
            f"{url} reports the version {found!r}, which is not a number.",
            "promweb needs the version to know what that server supports.",
            "Give the URL of a Prometheus; compatible servers have other settings.",
        )
        return
    version = int(numbers[1]), int(numbers[2])
    features = set(filter(None, re.split(r"[,\s]+", flags.get("enable-feature", ""))))
    jobs = _jobs(text)
    native = [name for name, job in jobs.items() if _takes_native(version, features, job)]
    findings = [
        *_check_native(found, version, sorted(jobs.keys() - set(native))),
        *_check_protobuf(found, version, features, jobs, native),
        *_check_classic(found, version, jobs, native),
    ]
    yield from findings or [
        ok("prometheus", f"Prometheus {found} at {url} takes native histograms and classic series.")
    ]


def _jobs(text: str) -> dict[str, dict[str, Any]]:
    """Return the scrape configurations by job name, with the global settings filled in."""
    with needs("PyYAML", "yaml"):
        import yaml

    config = yaml.safe_load(text) or {}
    common = config.get("global") or {}
    return {
        str(job.get("job_name")): {**common, **job} for job in config.get("scrape_configs") or []
    }


def _takes_native(version: tuple[int, int], features: set[str], job: Mapping[str, Any]) -> bool:
    if version < FIRST:
        return False
    if version >= STABLE and "scrape_native_histograms" in job:
        return bool(job["scrape_native_histograms"])
    return version < (3, 9) and "native-histograms" in features


def _check_native(found: str, version: tuple[int, int], without: list[str]) -> Findings:
    if without:
        yield warning(
            "native-histograms",
            f"Prometheus {found} does not take native histograms{_of(without)}.",
            "It stores the classic buckets of a histogram, and nothing of one with buckets=().",
            how_to_take(version),
        )


def _check_protobuf(
    found: str,
    version: tuple[int, int],
    features: set[str],
    jobs: Mapping[str, Mapping[str, Any]],
    native: list[str],
) -> Findings:
    asking = [
        name
        for name, job in jobs.items()
        if name not in native
        and version >= FIRST
        and (
            _ZERO_INGESTION in features
            or (job.get("scrape_protocols") or [""])[0] == "PrometheusProto"
        )
    ]
    if asking:
        yield error(
            "protobuf-without-native",
            f"Prometheus {found} asks for protobuf and does not take native histograms"
            f"{_of(asking)}.",
            "It loses histograms with native buckets, and their classic series as well, while the "
            "target is up.",
            f"{how_to_take(version)} Or remove {_ZERO_INGESTION}, and PrometheusProto from "
            "scrape_protocols.",
        )


def _check_classic(
    found: str,
    version: tuple[int, int],
    jobs: Mapping[str, Mapping[str, Any]],
    native: list[str],
) -> Findings:
    key = classic_key(version)
    losing = [name for name in native if key is None or not jobs[name].get(key)]
    if losing:
        yield warning(
            "classic-series",
            f"Prometheus {found} drops the classic series of histograms that have native buckets"
            f"{_of(losing)}.",
            "Dashboards and alerts that read their _bucket, _count or _sum find nothing.",
            how_to_keep_classic(version),
        )


def _of(jobs: list[str]) -> str:
    more = f" and {len(jobs) - _JOBS} more" if len(jobs) > _JOBS else ""
    return f" of the jobs {', '.join(jobs[:_JOBS])}{more}"
