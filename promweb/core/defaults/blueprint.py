"""The recorder for a metrics object that was given a blueprint: it measures no other requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..labels.plan import LabelPlan
from ..requests.exchange import Exchange
from ..requests.scope import Scope
from ..requests.site import Site
from .recording import RequestRecorder

__all__ = ["BlueprintRecorder"]


class BlueprintRecorder(RequestRecorder):
    """Records the requests that the routes of some blueprints have, those nested included."""

    def __init__(self, blueprint: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._blueprints: frozenset[str] | None = frozenset((blueprint,))
        """None for all requests, once the application itself is measured."""
        record = self.record

        def record_own(exchange: Exchange, seconds: float) -> None:
            if self._measures(exchange.request):
                record(exchange, seconds)

        self.record = record_own

    def _early_plan(self, request: Any) -> LabelPlan | None:
        return super()._early_plan(request) if self._measures(request) else None

    def record_steps(self, exchange: Exchange) -> None:
        if self._measures(exchange.request):
            super().record_steps(exchange)

    def preparations(self, site: Site) -> Iterable[Callable[[Scope], None]]:
        return [self._of_own(prepare) for prepare in super().preparations(site)]

    def _of_own(self, prepare: Callable[[Scope], None]) -> Callable[[Scope], None]:
        def prepare_own(scope: Scope) -> None:
            if self._measures(scope.request):
                prepare(scope)

        return prepare_own

    def merge(self, other: RequestRecorder) -> None:
        super().merge(other)
        theirs = other._blueprints if isinstance(other, BlueprintRecorder) else None
        mine = self._blueprints
        self._blueprints = None if mine is None or theirs is None else mine | theirs

    def _measures(self, request: Any) -> bool:
        return self._blueprints is None or not self._blueprints.isdisjoint(request.blueprints)
