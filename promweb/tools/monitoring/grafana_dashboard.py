"""The Grafana dashboard of a service: its variables and its rows."""

from __future__ import annotations

from typing import Any

from . import http_rows, other_rows
from .grafana_layout import dashboard, query_variable
from .queries import Queries
from .service import Service

__all__ = ["make_dashboard"]


def make_dashboard(service: Service, *, multiprocess: bool) -> dict[str, Any]:
    """Return the dashboard in Grafana's JSON model.

    With `multiprocess` there are panels for each worker process of an instance.
    """
    queries = Queries(
        service,
        'job=~"$job",instance=~"$instance"',
        group=f'{service.group}=~"$group"',
    )
    everywhere = Queries(service)
    of_job = Queries(service, 'job=~"$job"')
    of_instance = Queries(service, 'job=~"$job",instance=~"$instance"')
    variables = [
        # Without a value for "All": other jobs have process metrics, too.
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
    ]
    if service.websockets:
        rows.append(other_rows.websockets(queries))
    rows += [other_rows.processes(queries, multiprocess), other_rows.health(queries)]
    title = f"{service.name}: requests"
    description = "Made by `promweb dashboard`. Print it again rather than editing it."
    return dashboard(f"promweb-{service.name}"[:40], title, description, variables, rows)
