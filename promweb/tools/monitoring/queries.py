"""PromQL about a service, for the dashboard and for the rules.

`over` is the range after a selector: `[5m]`, `[$__rate_interval]`, `[1d] @ end()`.
`by` are the labels that a result keeps.
"""

from __future__ import annotations

from .service import Objective, Service

__all__ = ["Queries", "among", "burn"]

_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

BROKEN_CLOSE = 'close_code=~"1011|5.."'
"""Connections that the server broke off (RFC 6455) or whose handshake it could not answer."""


class Queries:
    """Expressions about one service, or the part of it that label matchers select.

    `group` is a matcher for families with the group label; `matchers` apply to all families.
    """

    def __init__(self, service: Service, matchers: str = "", group: str = "") -> None:
        self.service = service
        self.words = words = service.words
        # Responses that miss the objective, and all others. 499 is not one: the client left.
        self._failed, self._answered = f'{words.status}=~"5.."', f'{words.status}!~"5.."'
        self._matchers = (service.matchers, matchers)
        self._group_matcher = group

    # Requests.

    def requests(self, over: str, *by: str, where: str = "") -> str:
        """Return requests per second.

        The counter has no group label. The count of durations is the same number with the group,
        but many more series; it is used where the group matters, or where there is no counter.
        """
        counter = self.words.requests
        if counter is None or self._group_matcher or self.service.group in by:
            return self.observations(self.words.duration, over, *by, where=where)
        return self._sum(f"rate({self._select(counter, where)}{over})", by)

    def requests_by_class(self, over: str) -> str:
        """Return requests per second by the label `class`: 2xx, 4xx and so on."""
        status = self.words.status
        rates = self.requests(over, status)
        return f'sum by (class) (label_replace({rates}, "class", "${{1}}xx", "{status}", "(.).*"))'

    def error_share(self, over: str, *by: str) -> str:
        """Return the share of requests that failed; 0 where none did."""
        return _share(self.requests(over, *by, where=self._failed), self.requests(over, *by))

    def failures(self, over: str, *by: str) -> str:
        return self.requests(over, *by, where=self._failed)

    def exceptions(self, over: str, *by: str) -> str:
        """Return exceptions per second that no error handler answered.

        If no family counts them, these are the requests whose error is an exception class: an
        answered request has its status there, if that is an error, and a full family `<overflow>`.
        """
        counter = self.words.exceptions
        if counter is None:
            return self.requests(over, *by, where=f'{self.words.error}=~"[^0-9<].*"')
        return self._sum(f"rate({self._select(counter)}{over})", by)

    def slow_share(self, over: str, *by: str) -> str:
        """Return the share of requests that took longer than the objective allows.

        It omits failed requests: they have an objective of their own, and are often fast.
        """
        everything = self.observations(self.words.duration, over, *by, where=self._answered)
        return f"1 -\n{self._fast(over, by)}\n/\n{everything}"

    def _fast(self, over: str, by: tuple[str, ...]) -> str:
        latency = self.service.latency
        assert latency is not None, "a summary has no buckets"
        where = f'le="{latency.le}",{self._answered}'
        return self.rate(f"{self.words.duration}_bucket", over, *by, where=where)

    def in_progress(self, *by: str) -> str:
        return self._sum(self._select(self.words.in_progress), by)

    # Histograms and summaries that have the group: durations, sizes, response start.

    def rate(self, name: str, over: str, *by: str, where: str = "") -> str:
        """Return the rate of a counter that has the group label."""
        return self._sum(f"rate({self._select_grouped(name, where)}{over})", by)

    def observations(self, family: str, over: str, *by: str, where: str = "") -> str:
        """Return observations per second."""
        return self.rate(f"{family}_count", over, *by, where=where)

    def total(self, family: str, over: str, *by: str) -> str:
        """Return the sum of the observations per second."""
        return self.rate(f"{family}_sum", over, *by)

    def quantile(self, quantile: float, family: str, over: str, *by: str) -> str:
        rates = self.rate(f"{family}_bucket", over, *by, "le")
        return f"histogram_quantile({quantile}, {rates})"

    def quantiles(self, family: str, over: str, *by: str) -> dict[str, str]:
        """Return the usual quantiles, by their names."""
        return {name: self.quantile(q, family, over, *by) for name, q in _QUANTILES.items()}

    def mean(self, family: str, over: str, *by: str) -> str:
        return f"{self.total(family, over, *by)}\n/\n{self.observations(family, over, *by)}"

    def buckets(self, family: str, over: str) -> str:
        """Return how many observations each bucket got, in the form for a heatmap."""
        return f"sum by (le) (increase({self._select_grouped(f'{family}_bucket')}{over}))"

    # Families without the group: queue time, the lag, threads, background tasks.

    def whole(self, name: str, *by: str) -> str:
        return self._sum(self._select(name), by)

    def whole_rate(self, name: str, over: str, *by: str, where: str = "") -> str:
        return self._sum(f"rate({self._select(name, where)}{over})", by)

    def whole_quantile(self, quantile: float, family: str, over: str, *by: str) -> str:
        rates = self.whole_rate(f"{family}_bucket", over, *by, "le")
        return f"histogram_quantile({quantile}, {rates})"

    def whole_quantiles(self, family: str, over: str) -> dict[str, str]:
        """Return the quantiles that one looks at, by their names."""
        return {name: self.whole_quantile(q, family, over) for name, q in _QUANTILES.items()}

    # Websockets.

    def connections(self, *by: str) -> str:
        return self._sum(self._select_grouped("websocket_connections_in_progress"), by)

    def messages(self, over: str, *by: str) -> str:
        return self.rate("websocket_messages_total", over, *by)

    def closes(self, over: str, *by: str, where: str = "") -> str:
        """Return connections that ended, per second."""
        return self.rate("websocket_connection_duration_seconds_count", over, *by, where=where)

    def broken_share(self, over: str, *by: str) -> str:
        """Return the share of ended connections that the server broke off; 0 where none was."""
        return _share(self.closes(over, *by, where=BROKEN_CLOSE), self.closes(over, *by))

    # Processes (from prometheus_client), promweb itself, and scrapes (from Prometheus).

    def process(self, name: str, *by: str) -> str:
        return self._sum(self._foreign(f"process_{name}"), by)

    def process_rate(self, name: str, over: str, *by: str) -> str:
        return self._sum(f"rate({self._foreign(f'process_{name}')}{over})", by)

    def workers(self, *by: str) -> str:
        """Return the number of processes that expose process metrics."""
        return f"count by ({', '.join(by)}) ({self._foreign('process_start_time_seconds')})"

    def info(self) -> str:
        """Return series that every instance has, at the latest from its first request on."""
        return self._foreign(self.service.presence)

    def seen(self, over: str, *by: str) -> str:
        """Return which jobs or instances had such series within a range."""
        series = f"max_over_time({self.info()}{over})"
        return f"group by ({', '.join(by)}) ({series})" if by else series

    def instances(self) -> str:
        each = self.info() if self.words.info else f"count by (job, instance) ({self.info()})"
        return f"count({each})"

    def down(self) -> str:
        """Return how many targets cannot be scraped."""
        return f"sum(1 - {self.scraped('up')})"

    def versions(self) -> str:
        return f"count by (version) ({self.info()})"

    def label_errors(self, *by: str) -> str:
        return self._sum(self._foreign("promweb_label_errors_total"), by)

    def overflows(self, *by: str) -> str:
        return self._sum(self._foreign("promweb_series_folded_total"), by)

    def happened(self, name: str, over: str, *by: str) -> str:
        """Return by how much a self-metric rose, its first appearance included.

        It has no series before it counts, and `increase` ignores the first value of a series.
        """
        series = self._foreign(name)
        before = f"offset {over.strip('[]')}"
        return (
            f"{self._sum(f'increase({series}{over})', by)} > 0\n"
            f"or\n{self._sum(series, by)}\nunless\n{self._sum(f'{series} {before}', by)}"
        )

    def scraped(self, name: str) -> str:
        """Return a metric that Prometheus makes at each scrape: `up`, `scrape_duration_seconds`."""
        return self._foreign(name)

    def grouped(self) -> str:
        """Return series that have every value of the group label."""
        return self._select(f"{self.words.duration}_count")

    # Selectors.

    def _select(self, name: str, where: str = "") -> str:
        return self._foreign(f"{self.service.prefix}{name}", where)

    def _select_grouped(self, name: str, where: str = "") -> str:
        return self._select(name, ",".join(filter(None, (self._group_matcher, where))))

    def _foreign(self, name: str, where: str = "") -> str:
        matchers = ",".join(filter(None, (*self._matchers, where)))
        return f"{name}{{{matchers}}}" if matchers else name

    def _sum(self, series: str, by: tuple[str, ...]) -> str:
        if not by:
            return f"sum({series})"
        return self._named(f"sum by ({', '.join(by)}) ({series})", by)

    def _named(self, found: str, by: tuple[str, ...]) -> str:
        """Name the requests that matched no route, if they have no group."""
        group, unmatched = self.service.group, self.words.unmatched
        if unmatched and group in by:
            # Prometheus drops empty labels, so Grafana would show a line without a name.
            return f'label_replace({found}, "{group}", "{unmatched}", "{group}", "")'
        return found


def among(series: str, label: str, best: str) -> str:
    """Return the series whose label is among the ten largest over the whole range."""
    return f"{series}\nand on ({label})\ntopk(10, {best})"


def burn(share: str, objective: Objective) -> str:
    """Return how many times faster than allowed the error budget burns."""
    return f"(\n{share}\n)\n/ {objective.budget:f}"


def _share(part: str, whole: str) -> str:
    # Without a bad request there is no series; this makes it 0.
    return f"(\n  {part}\nor\n  0 * {whole}\n)\n/\n{whole}"
