"""The default labels of families that are recorded before there is a response."""

from __future__ import annotations

from collections.abc import Mapping

from ..families.problems import Problems
from .callables import takes_argument
from .plan import LabelPlan

__all__ = ["early_labels", "early_plan"]


def early_plan(
    metric: str,
    labels: Mapping[str, object],
    default_labels: Mapping[str, object],
    problems: Problems,
    *,
    coroutines: bool,
) -> LabelPlan:
    """Return a plan of `labels` and of the default labels that need no response."""
    kept = early_labels(metric, default_labels, problems)
    return LabelPlan(metric, labels, kept, problems, response=False, coroutines=coroutines)


def early_labels(
    metric: str, default_labels: Mapping[str, object], problems: Problems
) -> dict[str, object]:
    """Return the default labels that need no response; the log names those that are omitted."""
    late = [
        label
        for label, value in default_labels.items()
        if callable(value) and takes_argument(value, f"default_labels, label {label!r}")
    ]
    if late:
        problems.warn(
            f"{metric} is recorded before there is a response and omits the default labels "
            f"{', '.join(late)}, whose functions take the response. Functions without an argument "
            "would be called for it, too."
        )
    return {label: value for label, value in default_labels.items() if label not in late}
