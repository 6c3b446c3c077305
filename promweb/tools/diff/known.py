"""Documented differences between prometheus_flask_exporter and promweb.

`translated` changes OLD into what promweb would have shown, so that only other differences remain.
The sentences are those of README, under "Coming from prometheus_flask_exporter".
"""

from __future__ import annotations

from collections.abc import Mapping

from ...core.defaults.group_by import UNMATCHED
from ...core.requests.methods import OTHER
from .differences import Difference, Level, listed
from .sides import Side, series_of

__all__ = ["KNOWN", "is_other_program", "translated"]

_INFO = "exporter_info"
_ENDPOINT = "prometheus_metrics"

KNOWN = {
    "version": "`exporter_info` has the version of promweb.",
    "unmatched": "Requests that no route matched (404, 405, slash redirects) have the group "
    "`<unmatched>` instead of their path or `None`, so that strangers cannot create series; only a "
    "`group_by` function is called for them.",
    "method": "Methods that HTTP does not define have the method label `<other>`.",
    "endpoint": "`register_default` covers every route, those added after it too, but not the "
    "metrics endpoint; the exporter covered what was there, the metrics endpoint included.",
    "error": "A label callable or a `group_by` that raises gives the value `<error>`, is logged "
    "once and counts in `promweb_label_errors_total`; the exporter answered the request with 500.",
    "exceptions": "An unhandled exception that Flask-RESTful turns into a 500 counts in "
    "`http_request_exceptions_total`, as it does without Flask-RESTful.",
}


def is_other_program(old: Side, new: Side) -> bool:
    """Tell whether prometheus_flask_exporter, or another version of promweb, exposes OLD."""
    return any(
        old.families[name].labels.get("version") != shape.labels.get("version")
        for name, shape in new.families.items()
        if name.endswith(_INFO) and name in old.families
    )


def translated(old: Side, new: Side) -> tuple[Side, list[Difference]]:
    """Return OLD with the documented differences applied, and these differences."""
    found: dict[tuple[str, str, str, str], set[str]] = {}

    def change(family: str, labels: dict[str, str]) -> Mapping[str, str] | None:
        there = new.families.get(family)
        if there is None:
            return labels

        def instead(check: str, label: str, value: str) -> None:
            found.setdefault((family, check, label, value), set()).add(labels[label])
            labels[label] = value

        if _ENDPOINT in labels.values() and not there.has(_ENDPOINT):
            instead("endpoint", next(n for n, value in labels.items() if value == _ENDPOINT), "")
            return None
        versions = there.labels.get("version", set())
        if family.endswith(_INFO) and len(versions) == 1 and labels.get("version") not in versions:
            instead("version", "version", next(iter(versions)))
        was = old.families[family]
        for check, value in (("method", OTHER), ("unmatched", UNMATCHED)):
            for label, values in there.labels.items():
                if value in values and value not in was.labels.get(label, {value}):
                    series = series_of({**labels, label: value})
                    if series_of(labels) not in there.series and series in there.series:
                        instead(check, label, value)
        return labels

    side = old.changed(change)
    return side, [
        Difference(
            Level.KNOWN,
            check,
            family,
            f"the label {label!r} has {value!r} instead of {listed(map(repr, values))}"
            if value
            else f"there are no series with {label}={_ENDPOINT!r}",
            KNOWN[check],
        )
        for (family, check, label, value), values in sorted(found.items())
    ]
