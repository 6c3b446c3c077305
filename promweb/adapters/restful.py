"""Flask-RESTful: accepted for compatibility; resources are views like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .flask import PrometheusMetrics

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..core.arguments import Arguments

__all__ = ["RESTfulPrometheusMetrics"]

Self = TypeVar("Self", bound="RESTfulPrometheusMetrics")


class RESTfulPrometheusMetrics(PrometheusMetrics):
    """`PrometheusMetrics` with the arguments of `prometheus_flask_exporter`'s class of this name.

    `api` is not needed: labels see the final response, which Flask-RESTful has made by then.

        metrics = RESTfulPrometheusMetrics(app, api)
    """

    def __init__(self, app: Any, api: Any = None, **kwargs: Unpack[Arguments]) -> None:
        self.api: Any = api
        super().__init__(app, **kwargs)

    @classmethod
    def for_app_factory(cls: type[Self], api: Any = None, **kwargs: Unpack[Arguments]) -> Self:
        """Create an object without an application; call `init_app` for each one later.

        For example:

            metrics = RESTfulPrometheusMetrics.for_app_factory()
        """
        return cls(None, api, **kwargs)

    def init_app(self, app: Any, api: Any = None) -> None:
        """Measure an application; doing so again for the same one changes nothing.

        For example:

            metrics.init_app(app, api)
        """
        if api is not None:
            self.api = api
        super().init_app(app)
