"""Direct recording: finds the child for the labels that a call gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..families.children import Child
from ..families.kinds import CounterFamily, GaugeFamily, HistogramFamily
from ..labels.exemplars import ExemplarReader
from ..labels.plan import ERROR, LabelPlan, plain
from .blocks import NOTHING
from .calls import Calls

__all__ = ["Direct", "Wrong"]


class Wrong(ValueError):
    """A wrong call of an instrument."""


class Direct:
    """How an instrument records without decorating; nothing here raises while serving.

    `known` has the children of label sets that consist of constants and of text from calls, by
    their `key`.
    """

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.what = calls.what
        self.clock: Callable[[], float] = calls.clock
        self.awaits = calls.plan.awaits
        self._late = calls.plan.late
        names = calls.plan.given
        self.name = names[0] if len(names) == 1 else ""
        """The name of the label that calls give, if there is exactly one."""
        self.known: dict[object, Any] = {}
        self.bound: dict[object, Any] = {}
        """The instruments that `labels` made for the `known` label sets."""

    def key(self, labels: Mapping[str, object]) -> object:
        """Return the key of a label set: its only value, or all names and values in order."""
        if len(labels) == 1:
            return labels.get(self.name)
        return (*labels, *labels.values())

    def find(self, labels: Mapping[str, object], amount: object = 1.0) -> Any:
        """Return the child of a label set; one that records nothing if the labels are wrong.

        Raises ValueError for labels that only a decorator can resolve.
        """
        plan = self._plan(labels, amount)
        if plan is None:
            return NOTHING
        try:
            return self._child(labels, plan, plan.resolve(None))
        except Exception:
            self.calls.failed()
            return NOTHING

    async def find_async(self, labels: Mapping[str, object]) -> Any:
        """Like `find`, but await the results of label callables."""
        plan = self._plan(labels)
        if plan is None:
            return NOTHING
        try:
            return self._child(labels, plan, await plan.resolve_async(None))
        except Exception:
            self.calls.failed()
            return NOTHING

    def fill(self, labels: Mapping[str, object], amount: object = 1.0) -> LabelPlan | None:
        """Return the plan with the labels of a call; None, logged once, if they are wrong."""
        plan = self.calls.plan
        names = plan.given
        if len(labels) != len(names) or not all(name in labels for name in names):
            self._refuse_labels(labels, amount)
            return None
        if not names:
            return plan
        return plan.filled(given=[self._text(name, labels[name]) for name in names])

    def refuse(self, amount: object, error: Exception | None) -> None:
        """Report an amount that was not recorded: a wrong one, or an exception for a right one."""
        told: Exception
        if isinstance(error, Wrong):
            told = error
        elif not _is_number(amount):
            told = TypeError(f"{self.what}: {amount!r} is not a number")
        elif error is None:
            told = ValueError(f"{self.what}: inc({amount!r}): a counter only goes up")
        else:
            try:
                raise error
            except Exception:
                self.calls.failed()
            return
        self._misused("", told)

    def refuse_positions(self, count: int, labels: Mapping[str, object]) -> None:
        """Report `count` values by position that `labels` cannot take beside `labels` by name."""
        names = self.calls.plan.given
        values = f"{count} value{'s' if count > 1 else ''} by position"
        error = ValueError(
            f"{self.what}: labels() was given {values} and needs {len(names)}: {', '.join(names)}"
        )
        if not names:
            error = ValueError(
                f"{self.what}: labels() was given {values}, and the metric has no labelnames"
            )
        elif labels:
            error = ValueError(
                f"{self.what}: labels() takes values by position or by name, and not both: "
                f"{', '.join(names)}"
            )
        self._misused(names[0] if names else "", error)

    def refuse_value(self, value: object, why: str) -> None:
        """Report a value by position that a method cannot take, and why."""
        names = self.calls.plan.given
        example = f", as in {names[0]}={value!r}" if names and isinstance(value, str) else ""
        error = TypeError(f"{self.what}: cannot take {value!r} by position: {why}{example}")
        self._misused(names[0] if names else "", error)

    def _plan(self, labels: Mapping[str, object], amount: object = 1.0) -> LabelPlan | None:
        late = self._late
        if late:
            raise ValueError(
                f"{self.what}: only a decorator can give the label {late[0]!r} a value, because it "
                "comes from a function's return value or arguments. Leave it out, or give it a "
                "callable without arguments, to record directly"
            )
        return self.fill(labels, amount)

    def _child(self, labels: Mapping[str, object], plan: LabelPlan, values: Any) -> Any:
        family = self.calls.family
        child: Any = family.child(values, plan.overflow)
        target = child
        if isinstance(family, GaugeFamily) and family.is_only_set:
            target = _OnlySet(self.what, child)
        elif self.calls.exemplar is not None and isinstance(
            family, (CounterFamily, HistogramFamily)
        ):
            target = _Exemplified(child, self.calls.exemplar)
        # Not cached: full label sets, and values that equal others, such as 1 and True.
        if plan.constant and family.children.get(values) is child and _are_texts(labels):
            self.known[self.key(labels)] = target
        return target

    def _text(self, name: str, value: object) -> str:
        try:
            return plain(value)
        except Exception:
            plan = self.calls.plan
            plan.problems.label_error(plan.metric, name)
            return ERROR

    def _refuse_labels(self, labels: Mapping[str, object], amount: object) -> None:
        names = self.calls.plan.given
        missing = [name for name in names if name not in labels]
        unknown = [name for name in labels if name not in names]
        problems = []
        if unknown:
            problems.append(f"calls cannot give {_named(unknown)}")
        if missing:
            problems.append(f"{_named(missing)} {'are' if missing[1:] else 'is'} missing")
        wanted = ", ".join(names) or "none"
        problem = f"{', and '.join(problems)}; its labelnames are: {wanted}"
        error = ValueError(f"{self.what}: {problem}")
        if missing and isinstance(amount, str):
            error = ValueError(
                f"{self.what}: {problem}. The first argument {amount!r} is the amount: give labels "
                "by name"
            )
        self._misused((missing or unknown)[0], error)

    def _misused(self, label: str, error: Exception) -> None:
        plan = self.calls.plan
        plan.problems.misused(plan.metric, label, error)


class _Exemplified:
    """Records in a child, with the exemplar of the running code."""

    __slots__ = ("_child", "_read")

    def __init__(self, child: Child, read: ExemplarReader) -> None:
        self._child = child
        self._read = read

    def record(self, amount: float) -> None:
        self._child.record(amount)
        exemplar = self._read()
        if exemplar is not None:
            self._child.exemplify(exemplar, float(amount))


class _OnlySet:
    """The child of a gauge that can only be set, because its newest value counts."""

    __slots__ = ("_what", "set")

    def __init__(self, what: str, child: Any) -> None:
        self._what = what
        self.set = child.set

    def record(self, amount: float) -> None:
        raise Wrong(
            f"{self._what}: the most recent of several processes' values counts, so it can be set "
            "and not counted up or down; use another multiprocess_mode"
        )


def _named(labels: list[str]) -> str:
    return f"the label{'s' if labels[1:] else ''} {', '.join(map(repr, labels))}"


def _is_number(amount: Any) -> bool:
    try:
        return not isinstance(amount, (str, bytes)) and float(amount) == float(amount)
    except Exception:
        return False


def _are_texts(labels: Mapping[str, object]) -> bool:
    return all(type(value) is str for value in labels.values())
