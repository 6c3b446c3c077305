"""The Grafana dashboard of a service: its variables and its rows."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from . import http_rows, other_rows
from .grafana_layout import dashboard, query_variable
from .native_queries import queries_of
from .service import Service
from .waiting import waiting

__all__ = ["make_dashboard"]

_PLAIN, _OTHER = re.compile(r"[a-zA-Z0-9_-]{1,40}"), re.compile(r"[^a-zA-Z0-9_-]")


def make_dashboard(
    service: Service, *, multiprocess: bool, title: str | None = None, uid: str | None = None
) -> dict[str, Any]:
    """Return the dashboard in Grafana's JSON model.

    `multiprocess` adds panels for each worker process of an instance. Rows without a panel that
    the service measures are omitted. The default title and uid follow from the service and its
    selector.
    """
    queries = queries_of(
        service,
        'job=~"$job",instance=~"$instance"',
        group=f'{service.group}=~"$group"',
    )
    everywhere = queries_of(service)
    of_job = queries_of(service, 'job=~"$job"')
    of_instance = queries_of(service, 'job=~"$job",instance=~"$instance"')
    variables = [
        # No value for "All": other jobs have process metrics, too.
        query_variable("job", "Job", f"label_values({everywhere.info()}, job)"),
        query_variable(
            "instance", "Instance", f"label_values({of_job.info()}, instance)", all_value=".*"
        ),
        query_variable(
            "group",
            service.group,
            f"label_values({of_instance.grouped()}, {service.group})",
            all_value=".*",
        ),
    ]
    rows = [
        http_rows.overview(queries),
        http_rows.requests(queries),
        http_rows.errors(queries),
        http_rows.durations(queries),
        http_rows.in_progress(queries),
        http_rows.sizes(queries),
        waiting(queries),
    ]
    if service.websockets:
        rows.append(other_rows.websockets(queries))
    rows += [
        other_rows.processes(queries, multiprocess or service.workers),
        other_rows.health(queries),
    ]
    rows = [row for row in rows if row.panels]
    if title is None:
        title = f"{service.name}: requests" + (f" ({service.matchers})" if service.matchers else "")
    description = "Made by `promweb dashboard`. Print it again rather than editing it."
    return dashboard(uid or _uid(service), title, description, variables, rows)


def _uid(service: Service) -> str:
    """Return an id that depends on the service and its selector only, in Grafana's form."""
    name = f"promweb-{service.name}"
    is_usual = service.start in (f"{service.name}_", "") and service.start != "http_"
    if is_usual and not service.matchers and _PLAIN.fullmatch(name):
        return name
    told = f"{service.start} {service.matchers}".encode()
    return f"{_OTHER.sub('-', name)[:31]}-{hashlib.sha256(told).hexdigest()[:8]}"
