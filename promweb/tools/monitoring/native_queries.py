"""PromQL for a service with native histograms, or with native and classic instances at once.

Where an instance has native buckets, its classic series may be missing (Prometheus stores one or
both), so each expression takes an instance's native series, or else its classic ones.
"""

from __future__ import annotations

from .queries import Queries
from .service import Service

__all__ = ["NativeQueries", "queries_of"]


def queries_of(service: Service, matchers: str = "", group: str = "") -> Queries:
    """Return the expressions for a service; the arguments are those of `Queries`."""
    return (NativeQueries if service.native else Queries)(service, matchers, group)


class NativeQueries(Queries):
    """Expressions that take native series, or else classic ones.

    Counts, sums and shares choose for each series, so they cover all instances. Quantiles of a
    group use the native series if any instance has them: no quantile can combine both.
    """

    def observations(self, family: str, over: str, *by: str, where: str = "") -> str:
        return self._either("histogram_count", family, "_count", over, by, where)

    def total(self, family: str, over: str, *by: str) -> str:
        return self._either("histogram_sum", family, "_sum", over, by, "")

    def quantile(self, quantile: float, family: str, over: str, *by: str) -> str:
        rate = f"rate({self._select_grouped(family)}{over})"
        rates = f"sum by ({', '.join(by)}) ({rate})" if by else f"sum({rate})"
        # The name comes last: Prometheus 2.42 cannot relabel native histograms.
        native = self._named(f"histogram_quantile({quantile}, {rates})", by)
        return f"(\n{native}\nor\n{super().quantile(quantile, family, over, *by)}\n)"

    def buckets(self, family: str, over: str) -> str:
        native = f"sum(increase({self._select_grouped(family)}{over}))"
        return f"{native}\nor on ()\n{super().buckets(family, over)}"

    def info(self) -> str:
        return super().info() if self.service.words.info else self._any(super().info())

    def seen(self, over: str, *by: str) -> str:
        if self.service.words.info:
            return super().seen(over, *by)
        # A function over a range would drop the name, which distinguishes the two.
        labels = ", ".join(by or ("job", "instance"))
        return f"max_over_time((group by ({labels}) ({self.info()})){over[:-1]}:1m])"

    def grouped(self) -> str:
        return self._any(super().grouped())

    def _fast(self, over: str, by: tuple[str, ...]) -> str:
        latency = self.service.latency
        assert latency is not None, "a summary has no buckets"
        duration = self.words.duration
        rate = f"rate({self._select_grouped(duration, self._answered)}{over})"
        bucket = self._select_grouped(f"{duration}_bucket", f'le="{latency.le}",{self._answered}')
        # Without requests the fraction is NaN, which no comparison passes.
        share = f"histogram_fraction(0, {latency.le}, {rate})"
        native = f"{share} * histogram_count({rate}) >= 0"
        return self._sum(f"\n  {native}\n  or ignoring (le)\n  rate({bucket}{over})\n", by)

    def _either(
        self, function: str, family: str, suffix: str, over: str, by: tuple[str, ...], where: str
    ) -> str:
        native = f"{function}(rate({self._select_grouped(family, where)}{over}))"
        classic = f"rate({self._select_grouped(family + suffix, where)}{over})"
        return self._sum(f"{native} or {classic}", by)

    def _any(self, counts: str) -> str:
        """Return a selector of the counts of classic buckets, or of native series."""
        name, _, matchers = counts.rstrip("}").partition("{")
        both = f'__name__=~"{name.removesuffix("_count")}(_count)?"'
        return f"{{{','.join(filter(None, (both, matchers)))}}}"
