"""Exemplars: the trace of a recording, or labels from a callable.

A callable returns labels, a mapping of text to text, or None for no exemplar. It runs where the
request or the decorated function ran.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from ..families.limits import encodable
from ..families.problems import Problems
from ..names import check_label_name
from .callables import is_coroutine_function, takes_argument

__all__ = ["ExemplarLabels", "ExemplarReader", "exemplar_reader"]

ExemplarLabels = Mapping[str, str]
ExemplarReader = Callable[[], ExemplarLabels | None]

_MOST_CHARACTERS = 128
"""The most characters of an exemplar's label names and values together (OpenMetrics 1.0)."""


def exemplar_reader(
    exemplar: bool | Callable[[], object] | None, problems: Problems
) -> ExemplarReader | None:
    """Return a function that reads the exemplar of a recording and never raises; None for none.

    `exemplar=None` means OpenTelemetry's current span if the program has set up a tracer provider
    by now, True means that span in any case, and False no exemplars. Raises `ValueError` or
    `TypeError` for a callable that takes an argument or is a coroutine function, and `ImportError`
    for True without OpenTelemetry.
    """
    if exemplar is None:
        exemplar = _is_tracing()
    if exemplar is False:
        return None
    read: Callable[[], Any]
    if exemplar is True:
        read = _span_reader()
    elif callable(exemplar):
        if is_coroutine_function(exemplar) or takes_argument(exemplar, "exemplar"):
            raise ValueError(
                f"exemplar={exemplar!r}: must be a plain function without arguments that returns "
                "a dictionary of labels, or None"
            )
        read = exemplar
    else:
        raise TypeError(f"exemplar={exemplar!r}: must be True, False, None or a function")

    def read_exemplar() -> ExemplarLabels | None:
        try:
            labels: Any = read()
            return _checked(labels) if labels else None
        except Exception:
            problems.failed("read an exemplar")
            return None

    return read_exemplar


def _checked(labels: Mapping[str, Any]) -> ExemplarLabels:
    checked = {
        check_label_name(name, "exemplar"): encodable(str(value)) for name, value in labels.items()
    }
    characters = sum(len(name) + len(value) for name, value in checked.items())
    if characters > _MOST_CHARACTERS:
        raise ValueError(
            f"the labels of an exemplar have {characters} characters; OpenMetrics allows "
            f"{_MOST_CHARACTERS}"
        )
    return checked


def _is_tracing() -> bool:
    """Tell whether the program has given OpenTelemetry a tracer provider."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return False
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def _span_reader() -> ExemplarReader:
    try:
        trace: Any = import_module("opentelemetry.trace")
    except ImportError as error:
        raise ImportError(
            "exemplar=True needs OpenTelemetry. Install it with: pip install opentelemetry-api"
        ) from error
    current_span = trace.get_current_span
    write_trace_id, write_span_id = trace.format_trace_id, trace.format_span_id

    def read_span() -> ExemplarLabels | None:
        context = current_span().get_span_context()
        if not (context.is_valid and context.trace_flags.sampled):
            return None
        return {
            "trace_id": write_trace_id(context.trace_id),
            "span_id": write_span_id(context.span_id),
        }

    return read_span
