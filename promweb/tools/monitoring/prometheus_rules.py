"""Recording and alerting rules of a service, for Prometheus.

Alerts on objectives compare the burn rate of the budget in a long window, so that they matter,
and in a short one, so that they end soon after the cause does. Windows and factors are those of
the Site Reliability Workbook, chapter 5, for an objective over 30 days. Another period makes the
windows longer or shorter in proportion; the factors stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from .native_queries import queries_of
from .service import Objective, Service, duration_text
from .waiting import waiting_alerts

__all__ = ["Pair", "make_rules", "shortest_window", "windows"]

Json = dict[str, Any]

_PERIOD = 30 * 86400
_BOUNDED = ("url_rule", "endpoint", "http_route")
"""Groups with as many values as the application has routes."""

_PAGE, _TICKET = "page", "ticket"


class Pair(NamedTuple):
    """Two windows, in seconds, in which the budget may not burn `factor` times too fast."""

    long: int
    short: int
    factor: Decimal
    severity: str

    def can_fire(self, objective: Objective) -> bool:
        """Tell whether the share of bad requests can be that large at all."""
        return self.factor * objective.budget < 1


_PAIRS = (
    Pair(3600, 5 * 60, Decimal("14.4"), _PAGE),
    Pair(6 * 3600, 30 * 60, Decimal(6), _PAGE),
    Pair(86400, 2 * 3600, Decimal(3), _TICKET),
    Pair(3 * 86400, 6 * 3600, Decimal(1), _TICKET),
)


def windows(period: int) -> list[Pair]:
    """Return the pairs of windows for an objective over a period in seconds."""
    return [
        pair._replace(long=pair.long * period // _PERIOD, short=pair.short * period // _PERIOD)
        for pair in _PAIRS
    ]


def shortest_window(period: int) -> int:
    """Return the seconds of the shortest window, which must hold some scrapes."""
    return min(pair.short for pair in windows(period))


def make_rules(
    service: Service,
    *,
    period: int,
    concurrency: int | None = None,
    minimum_rate: float | None = None,
) -> Json:
    """Return the groups of rules, as Prometheus reads them from a file.

    `period` is the period of the objectives, in seconds. `concurrency` is how many requests an
    instance can handle at once; an alert fires when it is nearly used up. With fewer requests per
    second than `minimum_rate` no alert on an objective fires.
    """
    return {"groups": list(_Rules(service, period, concurrency, minimum_rate).groups())}


class _Rules:
    def __init__(
        self,
        service: Service,
        period: int,
        concurrency: int | None,
        minimum_rate: float | None,
    ) -> None:
        self.service = service
        self.queries = queries_of(service)
        self.request = service.words.duration.removesuffix("_duration_seconds")
        """The word for a request in the names of recorded series."""
        self.period = period
        self.pairs = windows(period)
        self.concurrency = concurrency
        self.minimum_rate = minimum_rate
        self.recent = duration_text(shortest_window(period))
        """The range of rates that belong to no objective."""

    def groups(self) -> Iterator[Json]:
        service = self.service
        yield self._group("requests", self._requests())
        yield self._group("errors", self._objective("errors", service.errors))
        if service.latency:
            yield self._group("latency", self._objective("slow", service.latency))
        if service.websockets:
            yield self._group("websockets", self._websockets())
        for name, rules in (("capacity", self._capacity()), ("waiting", self._waiting())):
            measured = list(rules)
            if measured:
                yield self._group(name, measured)
        yield self._group("health", self._health())

    def _group(self, name: str, rules: Iterable[Json]) -> Json:
        return {"name": f"{self.service.name}-{name}", "rules": list(rules)}

    def _requests(self) -> Iterator[Json]:
        queries, group, over = self.queries, self.service.group, f"[{self.recent}]"
        duration, status = self.service.words.duration, self.service.words.status
        for by in (("job",), ("job", status), ("job", group)):
            yield self._record(self.request, "rate", queries.requests(over, *by), *by)
        for pair in self.pairs if self.minimum_rate is not None else ():
            window = duration_text(pair.long)
            rate = queries.requests(f"[{window}]", "job")
            yield self._record(self.request, "rate", rate, "job", window=window)
        yield self._record(
            f"{self.request}_exceptions", "rate", queries.exceptions(over, "job"), "job"
        )
        if self.service.latency is None:
            for by in (("job",), ("job", group)):
                yield self._record(duration, "mean", queries.mean(duration, over, *by), *by)
            return
        for name, expr in queries.quantiles(duration, over, "job").items():
            yield self._record(duration, f"{name}_rate", expr, "job")
        by_group = queries.quantile(0.95, duration, over, "job", group)
        yield self._record(duration, "p95_rate", by_group, "job", group)

    def _objective(self, what: str, objective: Objective) -> Iterator[Json]:
        share: Callable[..., str] = self.queries.error_share
        bad = "were answered with 5xx"
        if what == "slow":
            assert self.service.latency is not None
            share, bad = self.queries.slow_share, f"took more than {self.service.latency.seconds} s"
        metric = f"{self.request}_{what}_per_request"
        spans = sorted({span for pair in self.pairs for span in (pair.short, pair.long)})
        for span in spans:
            window = duration_text(span)
            yield self._record(
                metric, "ratio_rate", share(f"[{window}]", "job"), "job", window=window
            )
        budget = "error" if what == "errors" else "latency"
        for pair in self.pairs:
            if not pair.can_fire(objective):
                continue
            long, short = duration_text(pair.long), duration_text(pair.short)
            above = f"> {pair.factor} * {objective.budget:f}"
            lasts = duration_text(int(self.period / pair.factor))
            yield self._alert(
                f"{budget.capitalize()}BudgetBurn",
                f"{self._name(metric, 'ratio_rate', 'job', window=long)} {above}\n"
                f"and\n{self._name(metric, 'ratio_rate', 'job', window=short)} {above}"
                f"{self._enough_traffic(long)}",
                severity=pair.severity,
                labels={"long_window": long, "short_window": short},
                summary=f"{{{{ $labels.job }}}} burns its {budget} budget more than "
                f"{pair.factor} times too fast",
                description="{{ $value | humanizePercentage }} of the requests of the last "
                f"{long} {bad}, and the last {short} is no better. The objective is that "
                f"{objective.percent} % do not, over {duration_text(self.period)}. At "
                f"{pair.factor} times the pace the whole budget lasts {lasts}.",
                runbook=self._worst(what),
            )

    def _enough_traffic(self, window: str) -> str:
        if self.minimum_rate is None:
            return ""
        rate = self._name(self.request, "rate", "job", window=window)
        return f"\nand\n{rate} >= {self.minimum_rate:g}"

    def _worst(self, what: str) -> str:
        group, over = self.service.group, f"[{self.recent}]"
        here = queries_of(self.service, 'job="{{ $labels.job }}"')
        if what == "errors":
            query, look = here.failures(over, group), "the log for their exceptions"
        else:
            query = here.quantile(0.95, self.service.words.duration, over, group)
            look = "requests in progress and what they wait for"
        return f"Find the worst: topk(5, {query}). Then look at {look}, and at recent changes."

    def _websockets(self) -> Iterator[Json]:
        metric, over = "websocket_broken_per_connection", f"[{self.recent}]"
        yield self._record(metric, "ratio_rate", self.queries.broken_share(over, "job"), "job")
        yield self._alert(
            "WebsocketsBreak",
            f"{self._name(metric, 'ratio_rate', 'job')} > 0.05",
            wait="15m",
            severity=_TICKET,
            summary="{{ $labels.job }} breaks off its websockets",
            description="{{ $value | humanizePercentage }} of the websocket connections that ended "
            "were broken off with 1011 or rejected with 5xx.",
            runbook="The log has the exceptions of the websocket handlers.",
        )

    def _capacity(self) -> Iterator[Json]:
        """Yield alerts that need the requests in progress."""
        if "in_progress" not in self.service.measured:
            return
        in_progress = self.queries.in_progress("job", "instance")
        if self.concurrency is not None:
            yield self._alert(
                "Saturated",
                f"{in_progress} / {self.concurrency} > 0.8",
                wait="10m",
                severity=_TICKET,
                summary="{{ $labels.instance }} of {{ $labels.job }} is nearly full",
                description="{{ $value | humanizePercentage }} of the "
                f"{self.concurrency} requests that it can handle at once are in progress.",
                runbook="Check whether requests take longer or there are more of them; if more, "
                "add instances or workers.",
            )
        ended = self.queries.requests("[15m]", "job", "instance")
        yield self._alert(
            "Stalled",
            f"{in_progress} > 0\nunless\n{ended} > 0",
            wait="15m",
            # A client that watches a stream all night looks the same.
            severity=_TICKET,
            summary="{{ $labels.instance }} of {{ $labels.job }} finishes no requests",
            description="{{ $value }} requests are in progress, and none finished for at least 15 "
            "minutes. They may be endless streams.",
            runbook="Find what the threads or tasks of the process wait for, for example with "
            "py-spy dump; then restart it.",
        )

    def _waiting(self) -> Iterator[Json]:
        for alert in waiting_alerts(self.queries, f"[{self.recent}]"):
            yield self._alert(wait="10m", severity=_TICKET, **alert)

    def _health(self) -> Iterator[Json]:
        queries, info = self.queries, self.queries.info()
        since = "start" if self.service.words.info else "first request"
        yield self._alert(
            "ScrapeFails",
            f"{queries.scraped('up')} == 0\nand on (job, instance)\n{queries.seen('[1d]')}",
            wait="5m",
            severity=_TICKET,
            summary="{{ $labels.instance }} of {{ $labels.job }} cannot be scraped",
            description="It exposed metrics during the last day, and now Prometheus gets none.",
            runbook="Prometheus' page of targets shows the error. A status of 500 names the "
            "collector that failed.",
        )
        yield self._alert(
            "MetricsAbsent",
            # One job may vanish while others stay; and there may never have been any.
            f"{queries.seen('[1d]', 'job')}\nunless\ngroup by (job) ({info})\n"
            f"or\nabsent_over_time({info}[1d])",
            wait="10m",
            severity=_PAGE,
            summary="Prometheus finds no metrics of "
            f"{{{{ with $labels.job }}}}{{{{ . }}}}{{{{ else }}}}{self.service.name}{{{{ end }}}}",
            description=f"There is no series {self.service.presence} of this job; every instance "
            f"has one from its {since}. The other alerts cannot fire for it.",
            runbook="Check whether the service runs, and whether Prometheus discovers it.",
        )
        yield self._alert(
            "LabelErrors",
            self._of_service(
                queries.happened("promweb_label_errors_total", "[1h]", "job", "metric", "label")
            ),
            severity=_TICKET,
            summary="{{ $labels.metric }} has wrong labels or calls",
            description="{{ if $labels.label }}Within an hour, its label {{ $labels.label }} was "
            "wrong {{ $value | humanize }} times. Either the label's callable raised, and the "
            "value was <error>; or a call of the instrument left the label out, or gave it "
            "although the metric does not have it, and recorded nothing.{{ else }}Within an hour, "
            "{{ $value | humanize }} calls of the instrument had a wrong amount, or label values "
            "that do not fit, and recorded nothing.{{ end }}",
            runbook="Search the log of promweb for {{ $labels.metric }}. It has the traceback of "
            "the first time that a callable raised, and once each line of the program with a "
            "wrong call.",
        )
        yield self._alert(
            "SeriesFolded",
            self._of_service(
                queries.happened("promweb_series_folded_total", "[1h]", "job", "metric")
            ),
            severity=_TICKET,
            summary="{{ $labels.metric }} is full",
            description="{{ $value | humanize }} recordings within an hour became <overflow>, "
            "because the metric has max_series label sets, or a value is too long.",
            runbook=f"The log of promweb says which. {self._fewer()}, or raise max_series.",
        )

    def _fewer(self) -> str:
        """Return how to have fewer label sets."""
        if self.service.group in _BOUNDED:
            return "Find the label with too many values and have it return fewer"
        return (
            f"If {self.service.group} has too many values, group by url_rule or endpoint. "
            "Otherwise find the label that has, have it return fewer"
        )

    def _of_service(self, expr: str) -> str:
        """Keep jobs that expose the service's metrics; self-metrics have no prefix."""
        return f"(\n{expr}\n)\nand on (job)\n{self.queries.info()}"

    def _record(self, metric: str, operation: str, expr: str, *by: str, window: str = "") -> Json:
        return {"record": self._name(metric, operation, *by, window=window), "expr": expr}

    def _name(self, metric: str, operation: str, *by: str, window: str = "") -> str:
        """Return a name by Prometheus' convention, level:metric:operations."""
        operations = f"{operation}{window or self.recent}"
        return f"{'_'.join(by)}:{self.service.prefix}{metric}:{operations}"

    def _alert(
        self,
        name: str,
        expr: str,
        *,
        severity: str,
        wait: str = "",
        labels: Json | None = None,
        **annotations: str,
    ) -> Json:
        words = self.service.start.split("_")
        service = "".join(word[:1].upper() + word[1:] for word in words)
        return {
            "alert": f"{service}{name}",
            "expr": expr,
            **({"for": wait} if wait else {}),
            "labels": {"severity": severity, **(labels or {})},
            "annotations": annotations,
        }
