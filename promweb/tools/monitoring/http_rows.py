"""The rows of the dashboard about HTTP requests."""

from __future__ import annotations

from .grafana_layout import Row
from .panels import RATE, Panel, heatmap, legend, limit, stat, table, timeseries
from .queries import Queries, among, burn
from .service import Objective

__all__ = ["durations", "errors", "in_progress", "overview", "requests", "sizes"]

_RANGE = "[$__range]"
_WHOLE_RANGE = "[$__range] @ end()"
_COLOURS = {"1xx": "purple", "2xx": "green", "3xx": "blue", "4xx": "yellow", "5xx": "red"}


def overview(queries: Queries) -> Row:
    service = queries.service
    duration = service.words.duration
    if service.latency:
        speed = stat(
            "Duration, p95",
            "95 % of the requests took at most this long, to the last byte.",
            "s",
            queries.quantile(0.95, duration, RATE),
        )
    else:
        speed = stat(
            "Mean duration",
            "Mean time from the call of the application to the last byte.",
            "s",
            queries.mean(duration, RATE),
        )
    panels = [
        stat("Requests", "Requests per second.", "reqps", queries.requests(RATE)),
        stat(
            "Errors",
            f"Share of requests answered with 5xx. Red where the objective of "
            f"{service.errors.percent} % without is missed.",
            "percentunit",
            queries.error_share(RATE),
            limits=limit(float(service.errors.budget)),
        ),
        speed,
    ]
    if "in_progress" in service.measured:
        gauge = stat(
            "In progress",
            "Requests in progress. The application must be given in_progress=True.",
            "short",
            queries.in_progress(),
        )
        panels.append(gauge)
    panels += [
        stat(
            "Instances",
            "Instances that expose these metrics.",
            "short",
            queries.instances(),
        ),
        stat(
            "Instances down",
            "Targets of these jobs that Prometheus cannot scrape.",
            "short",
            queries.down(),
            limits=limit(1),
        ),
    ]
    return Row("Overview", panels)


def requests(queries: Queries) -> Row:
    group, words = queries.service.group, queries.words
    busiest = among(queries.requests(RATE, group), group, queries.requests(_WHOLE_RANGE, group))
    columns = {
        "Requests/s": ("reqps", queries.requests(_RANGE, group)),
        "Errors": ("percentunit", queries.error_share(_RANGE, group)),
    }
    if queries.service.latency:
        for name, expr in queries.quantiles(words.duration, _RANGE, group).items():
            columns[name] = ("s", expr)
    else:
        columns["Mean duration"] = ("s", queries.mean(words.duration, _RANGE, group))
    return Row(
        "Requests",
        [
            timeseries(
                "Requests by status class",
                "Requests per second. 499 (the client left before there was a response) is "
                "among 4xx.",
                "reqps",
                {"{{class}}": queries.requests_by_class(RATE)},
                stacked=True,
                colours=_COLOURS,
            ),
            timeseries(
                f"Requests by {group}",
                "Requests per second of the ten busiest of the time range.",
                "reqps",
                {legend(group): busiest},
            ),
            timeseries(
                "Requests by method",
                f"Requests per second. Methods that HTTP does not define are `{words.other}`.",
                "reqps",
                {legend(words.method): queries.requests(RATE, words.method)},
                stacked=True,
            ),
            table(
                f"Every {group}",
                "Means of the time range; click a title to sort.",
                columns,
                sort="Requests/s",
            ),
        ],
    )


def errors(queries: Queries) -> Row:
    service, group, words = queries.service, queries.service.group, queries.words
    kinds = [label for label in (words.method, words.status, words.error) if label]
    of_all = f" Of every {group}: this family has no such label." if words.exceptions else ""
    failing = among(queries.failures(RATE, group), group, queries.failures(_WHOLE_RANGE, group))
    return Row(
        "Errors",
        [
            timeseries(
                "Share of errors",
                f"Share of requests answered with 5xx; the objective is {service.errors.percent} % "
                "without.",
                "percentunit",
                {"errors": queries.error_share(RATE)},
                limits=limit(float(service.errors.budget)),
            ),
            _burn("Burn of the error budget", queries.error_share("[1h]"), service.errors),
            timeseries(
                f"Errors by {group}",
                "Responses with 5xx per second, of the ten that failed most in the time range.",
                "reqps",
                {legend(group): failing},
            ),
            timeseries(
                "Exceptions",
                "Exceptions per second that no error handler answered. With a status other than "
                f"5xx a streamed body broke off.{of_all}",
                "reqps",
                {legend(*kinds): queries.exceptions(RATE, *kinds)},
                width=24,
            ),
        ],
    )


def durations(queries: Queries) -> Row:
    service, group, duration = queries.service, queries.service.group, queries.words.duration
    if service.latency is None:
        by_group = among(
            queries.mean(duration, RATE, group),
            group,
            queries.mean(duration, _WHOLE_RANGE, group),
        )
        return Row(
            "Duration",
            [
                timeseries(
                    "Mean duration",
                    "Mean time to the last byte. A summary has no quantiles; to get them, remove "
                    "default_latency_as_histogram=False.",
                    "s",
                    {"mean": queries.mean(duration, RATE)},
                    width=12,
                ),
                timeseries(
                    f"Mean duration by {group}",
                    "Mean time to the last byte, of the ten slowest of the time range.",
                    "s",
                    {legend(group): by_group},
                    width=12,
                ),
            ],
        )
    slowest = among(
        queries.quantile(0.95, duration, RATE, group),
        group,
        queries.quantile(0.95, duration, _WHOLE_RANGE, group),
    )
    return Row(
        "Duration",
        [
            heatmap(
                "Durations",
                "How many requests took how long, to the last byte.",
                "s",
                queries.buckets(duration, RATE),
            ),
            timeseries(
                "Duration",
                "Time to the last byte, streams included.",
                "s",
                queries.quantiles(duration, RATE),
                width=12,
            ),
            timeseries(
                f"Duration by {group}, p95",
                "95 % of the requests took at most this long. The ten slowest of the time range.",
                "s",
                {legend(group): slowest},
            ),
            timeseries(
                "Share of slow requests",
                f"Share of requests without 5xx that took longer than {service.latency.seconds} s; "
                f"the objective is {service.latency.percent} % within it.",
                "percentunit",
                {"slow": queries.slow_share(RATE)},
                limits=limit(float(service.latency.budget)),
            ),
            _burn("Burn of the latency budget", queries.slow_share("[1h]"), service.latency),
        ],
    )


def in_progress(queries: Queries) -> Row:
    service, needs = queries.service, "The application must be given in_progress=True."
    if "in_progress" not in service.measured:
        return Row("In progress", [])
    label = service.group if service.in_progress_by_group else queries.words.method
    what = label if service.in_progress_by_group else "method"
    return Row(
        "In progress",
        [
            timeseries(
                "Requests in progress",
                f"By {what}, as each scrape found them. {needs}",
                "short",
                {legend(label): queries.in_progress(label)},
                stacked=True,
                width=12,
            ),
            timeseries(
                "Requests in progress by instance",
                f"A line that stays up is an instance that is full or hangs. {needs}",
                "short",
                {"{{instance}}": queries.in_progress("instance")},
                width=12,
            ),
        ],
    )


def sizes(queries: Queries) -> Row:
    words, measured = queries.words, queries.service.measured
    families = {"request": words.request_size, "response": words.response_size}
    sized = {what: family for what, family in families.items() if f"{what}_size" in measured}
    panels = [
        timeseries(
            f"Size of {what}s",
            f"Size of {what} bodies. The application must be given {what}_size=True.",
            "bytes",
            queries.quantiles(family, RATE),
        )
        for what, family in sized.items()
    ]
    titles = ["sizes"] if sized else []
    if sized:
        needs = " and ".join(f"{what}_size=True" for what in sized)
        directions = {"response": "sent", "request": "received"}
        traffic = timeseries(
            "Traffic",
            f"Bytes of bodies per second. The application must be given {needs}.",
            "Bps",
            {
                direction: queries.total(sized[what], RATE)
                for what, direction in directions.items()
                if what in sized
            },
        )
        panels.append(traffic)
    if words.response_start is not None and "response_start" in measured:
        titles.append("time to the first byte")
        panels += [
            heatmap(
                "Times to the first byte",
                "How many requests had their first byte when. The application must be given "
                "response_start=True.",
                "s",
                queries.buckets(words.response_start, RATE),
            ),
            timeseries(
                "Time to the first byte",
                "Unlike the duration it does not grow with the length of a stream. The "
                "application must be given response_start=True.",
                "s",
                queries.quantiles(words.response_start, RATE),
                width=12,
            ),
        ]
    return Row(" and ".join(titles).capitalize(), panels, collapsed=True)


def _burn(title: str, share: str, objective: Objective) -> Panel:
    return timeseries(
        title,
        "How many times faster than allowed the error budget was spent over the last hour. At 1 it "
        f"lasts exactly as long as the objective of {objective.percent} %.",
        "short",
        {"burn": burn(share, objective)},
        limits=limit(1),
    )
