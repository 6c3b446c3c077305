"""The rows of the dashboard that are not about HTTP requests."""

from __future__ import annotations

from .grafana_layout import Row
from .panels import RATE, Panel, legend, table, timeseries
from .queries import Queries

__all__ = ["health", "processes", "websockets"]


def websockets(queries: Queries) -> Row:
    group, since = queries.service.group, "The families appear with the first connection (Quart)."
    return Row(
        "Websockets",
        [
            timeseries(
                "Open connections",
                since,
                "short",
                {legend(group): queries.connections(group)},
                stacked=True,
            ),
            timeseries(
                "Messages",
                f"Messages per second. {since}",
                "cps",
                {"{{direction}}": queries.messages(RATE, "direction")},
            ),
            timeseries(
                "Ends by close code",
                "Connections per second that ended. A status in place of a close code is a "
                "handshake that was rejected.",
                "cps",
                {"{{close_code}}": queries.closes(RATE, "close_code")},
            ),
            timeseries(
                "Share that was broken off",
                "Share of the connections that ended with 1011 or were rejected with 5xx.",
                "percentunit",
                {"broken off": queries.broken_share(RATE)},
                width=12,
            ),
            timeseries(
                "Duration of connections",
                "How long ended connections were open.",
                "s",
                queries.quantiles("websocket_connection_duration_seconds", RATE),
                width=12,
            ),
        ],
        collapsed=True,
    )


def processes(queries: Queries, multiprocess: bool) -> Row:
    needs = (
        "From prometheus_client's process collector (Linux, the default registry). With several "
        "workers the application must be given process_metrics=True."
    )

    def panels(title: str, legend: str, *by: str) -> list[Panel]:
        return [
            timeseries(
                f"Memory{title}",
                f"Resident memory. {needs}",
                "bytes",
                {legend: queries.process("resident_memory_bytes", *by)},
            ),
            timeseries(
                f"Processor{title}",
                f"Processors in use. {needs}",
                "short",
                {legend: queries.process_rate("cpu_seconds_total", RATE, *by)},
            ),
            timeseries(
                f"Open files{title}",
                f"File descriptors, sockets included. {needs}",
                "short",
                {legend: queries.process("open_fds", *by)},
            ),
        ]

    found = panels("", "{{instance}}", "instance")
    if multiprocess:
        workers = timeseries(
            "Workers",
            f"Worker processes. {needs}",
            "short",
            {"{{instance}}": queries.workers("instance")},
            width=24,
        )
        by_worker = panels(" by worker", "{{instance}} {{pid}}", "instance", "pid")
        found = [*found, workers, *by_worker]
    return Row("Workers" if multiprocess else "Processes", found, collapsed=True)


def health(queries: Queries) -> Row:
    tables = [
        table(
            "Wrong labels and calls",
            "Label callables that raised, whose value is `<error>`, and wrong calls of "
            "instruments, which recorded nothing, since the processes began. The log has them. "
            "Empty if there were none.",
            {"Times": ("short", queries.label_errors("metric", "label"))},
            sort="Times",
            width=8,
        ),
        table(
            "Full metrics",
            "Recordings that became `<overflow>`, since the processes began: a label set too many, "
            "or a value that is too long. Empty if there were none.",
            {"Times": ("short", queries.overflows("metric"))},
            sort="Times",
            width=8,
        ),
    ]
    if queries.words.info:
        versions = table(
            "Versions of promweb",
            "Instances by version.",
            {"Instances": ("short", queries.versions())},
            sort="Instances",
            width=8,
        )
        tables.append(versions)
    scrapes = [
        timeseries(
            "Reachable",
            "1 where Prometheus could scrape the target, 0 where it could not.",
            "short",
            {"{{instance}}": queries.scraped("up")},
            maximum=1,
        ),
        timeseries(
            "Duration of scrapes",
            "As Prometheus measured it.",
            "s",
            {"{{instance}}": queries.scraped("scrape_duration_seconds")},
        ),
        timeseries(
            "Samples per scrape",
            "Samples in each scrape. A line that climbs means a label with too many values.",
            "short",
            {"{{instance}}": queries.scraped("scrape_samples_scraped")},
        ),
    ]
    return Row("promweb and scrapes", [*tables, *scrapes], collapsed=True)
