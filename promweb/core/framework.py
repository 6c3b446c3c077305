"""What a metrics object needs of the adapter of its framework."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from .requests.site import Site

__all__ = ["Framework"]


class Framework(ABC):
    """One web framework, as its adapter knows it."""

    @abstractmethod
    def _check_app(self, app: Any) -> None:
        """Raise `TypeError` for an application of another framework."""

    @abstractmethod
    def _current_app(self) -> Any:
        """Return the framework's current application; raise `RuntimeError` if there is none."""

    @abstractmethod
    def _attach(self, site: Site) -> None:
        """Have the application's requests become exchanges of `site`."""

    @staticmethod
    @abstractmethod
    def _protocol(request: Any) -> str:
        """Return the protocol of a request, as the framework spells it."""

    @abstractmethod
    def _metrics_view(self) -> Callable[..., Any]:
        """Return a view that answers a scrape of the registry."""

    @abstractmethod
    def _dashboard_view(self) -> Callable[..., Any]:
        """Return a view that answers with the live page, its files, or a scrape."""
