"""Checks a running service by comparing several scrapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.error import HTTPError

from ...core.defaults.vocabulary import OTEL
from ...core.families.storage import DIRECTORY_VARIABLE
from ...scrapes.parsing import Exposition, ScrapeError
from .findings import Finding, Findings, Level, error, ok, warning
from .waiting import check_waiting

__all__ = ["SLOW", "Outcome", "check_scrapes"]

SLOW = 0.5
"""A scrape is slow from this share of the timeout on."""

_START = "process_start_time_seconds"
_COUNTERS = ("_total", "_count", "_bucket")

Series = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Outcome:
    """The result of one scrape, and how many seconds it took."""

    result: Exposition | ScrapeError
    seconds: float


def check_scrapes(url: str, rounds: Sequence[Sequence[Outcome]], timeout: float) -> Findings:
    """Check the scrapes; each round began when the round before had ended.

    The scrapes of a round run at the same time, so that several workers have to answer.
    """
    outcomes = [outcome for round in rounds for outcome in round]
    failed = [o.result for o in outcomes if isinstance(o.result, ScrapeError)]
    found = [[o.result for o in round if isinstance(o.result, Exposition)] for round in rounds]
    expositions = [exposition for round in found for exposition in round]
    if failed:
        yield _unreadable(url, failed, len(outcomes))
    if not expositions:
        return
    findings = [
        *_check_speed(max(outcome.seconds for outcome in outcomes), timeout),
        *_check_processes(expositions, found),
        *_check_promweb(expositions),
        *_check_self_metrics(expositions),
        *check_waiting(expositions[-1]),
    ]
    yield from findings
    if not failed and all(finding.level is Level.OK for finding in findings):
        yield ok("scrape", f"{url} answered {len(outcomes)} scrapes that agree with each other.")


def _unreadable(url: str, failed: Sequence[ScrapeError], tried: int) -> Finding:
    what = f"{url}: {failed[0]}" + (f" ({len(failed)} of {tried} scrapes)" if tried > 1 else "")
    why = "Prometheus cannot scrape it either."
    cause = failed[0].__cause__
    status = cause.code if isinstance(cause, HTTPError) else None
    if status in (401, 403, 407):
        return error(
            "unauthorised",
            what,
            "The endpoint asks for credentials.",
            "Give them with --user or --header here, and with basic_auth or authorization in "
            "Prometheus.",
        )
    if status == 404:
        remedy = (
            "Check the path: promweb serves `path`, /metrics unless set, below any prefix of the "
            "application; with path=None only start_http_server serves the metrics."
        )
    elif status == 405:
        remedy = "Prometheus sends GET, as this command did: allow it there."
    elif status is not None and 300 <= status < 400:
        remedy = "Scrape the URL of the metrics; or exempt that path from the redirect."
    elif status is not None:
        remedy = "Read the service's log: the logger promweb names what failed."
    elif "not an exposition" in str(failed[0]) or "UTF-8" in str(failed[0]):
        remedy = (
            "Another route, a proxy or a before_request function answers there: let it pass the "
            "path to promweb."
        )
    else:
        remedy = "Check that the service runs, and listens at that address and port."
    return error("unreadable", what, why, remedy)


def _check_speed(slowest: float, timeout: float) -> Findings:
    if slowest > SLOW * timeout:
        yield warning(
            "slow",
            f"A scrape took {slowest:.1f} s; the timeout is {timeout:g} s.",
            "Prometheus drops a scrape that takes longer than its scrape_timeout, 10 s unless set.",
            "Reduce the series (group_by, fewer buckets), or answer scrapes on a port of their "
            "own with start_http_server.",
        )


def _check_processes(
    expositions: Sequence[Exposition], rounds: Sequence[Sequence[Exposition]]
) -> Findings:
    """Check that one source of numbers answers."""
    starts = {
        sample.value
        for exposition in expositions
        for sample in exposition.samples.get(_START, ())
        if not sample.labels
    }
    fell = next(_falling(rounds), None)
    remedy = (
        f"Set {DIRECTORY_VARIABLE} to a directory of its own, which promweb creates and cleans, "
        "before the server starts, so that all workers share their metrics; behind a load "
        "balancer, scrape each instance."
    )
    if len(starts) > 1:
        yield error(
            "workers",
            f"{len(starts)} different processes answered, each with its own numbers.",
            "Counters seem to jump from scrape to scrape, and rates are wrong.",
            remedy,
        )
    elif fell is not None:
        yield error(
            "counters",
            f"{fell[0]}{dict(fell[1]) or ''} went down from one scrape to the next.",
            "Counters never go down, unless a process restarted, several processes answer, or "
            "something removes the workers' files while they run.",
            remedy,
        )


def _falling(rounds: Sequence[Sequence[Exposition]]) -> Iterator[Series]:
    """Yield series of counters that were higher in an earlier round."""
    highest: dict[Series, float] = {}
    for round in rounds:
        values = [list(_counters(exposition)) for exposition in round]
        for exposition in values:
            for series, value in exposition:
                if value < highest.get(series, value):
                    yield series
        for exposition in values:
            for series, value in exposition:
                highest[series] = max(value, highest.get(series, value))


def _counters(exposition: Exposition) -> Iterator[tuple[Series, float]]:
    for name, samples in exposition.samples.items():
        if name.endswith(_COUNTERS):
            for sample in samples:
                # The series with its pid disappear with a worker.
                if "pid" not in sample.labels:
                    yield (name, tuple(sorted(sample.labels.items()))), sample.value


def _check_promweb(expositions: Iterable[Exposition]) -> Findings:
    names = {name for exposition in expositions for name in exposition.families}
    if OTEL.duration not in names and not any(name.endswith("exporter_info") for name in names):
        yield warning(
            "promweb",
            f"These metrics are not promweb's: there is neither exporter_info nor {OTEL.duration}.",
            "Another program answers at this URL, promweb uses another registry, or "
            "export_defaults is off.",
            "Check the port, the path, and the registry that PrometheusMetrics was given.",
        )


def _check_self_metrics(expositions: Sequence[Exposition]) -> Findings:
    seen: set[str] = set()
    for exposition in expositions:
        for name, check, what, why, remedy in _SELF_METRICS:
            for sample in exposition.samples.get(name, ()):
                text = what.format(n=f"{sample.value:,.0f}", **{**_UNKNOWN, **sample.labels})
                subject = f"{name}{sample.labels}"
                if sample.value > 0 and subject not in seen:
                    seen.add(subject)
                    yield warning(check, text, why, remedy)


_UNKNOWN = {"metric": "?", "label": "?", "reason": "?"}

_SELF_METRICS = (
    (
        "promweb_label_errors_total",
        "label-errors",
        "Wrong values of the label {label!r} of {metric}: {n}.",
        "Its function raised, and the value was recorded as <error>; or a call of the instrument "
        "was wrong, and recorded nothing.",
        "The logger promweb has the first traceback of a function, and each line with a wrong "
        "call.",
    ),
    (
        "promweb_series_folded_total",
        "unbounded",
        "Recordings of {metric} that became <overflow>: {n}.",
        "It has max_series label sets, or the values are too long.",
        'Use labels with few values: group_by="url_rule" instead of the path, no identifiers of '
        "users or objects in labels. Or raise max_series.",
    ),
    (
        "promweb_queue_times_ignored_total",
        "queue-time",
        "Headers that queue_time left out as {reason}: {n}.",
        "The proxy writes no time, its clock is wrong, or clients send the header themselves.",
        "Have the proxy set the header itself, and keep the clocks of both machines right.",
    ),
    (
        "promweb_multiprocess_files_skipped_total",
        "files",
        "Files of workers that scrapes left out as {reason}: {n}.",
        "A scrape lacks the numbers in them.",
        "The logger promweb names the files: remove them while the server is stopped.",
    ),
)
