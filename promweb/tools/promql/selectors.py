"""The selectors of a PromQL expression, and the labels that the expression uses.

`promql-parser` reads expressions; its grammar follows Prometheus' own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser as promql

__all__ = ["ANY", "Matcher", "Selector", "check_matchers", "selectors"]

ANY = "promweb_any"
"""Stands for a name or value that is chosen later."""

_OPS = (
    (promql.MatchOp.Equal, "="),
    (promql.MatchOp.NotEqual, "!="),
    (promql.MatchOp.Re, "=~"),
    (promql.MatchOp.NotRe, "!~"),
)


@dataclass(frozen=True)
class Matcher:
    """One condition on a label."""

    label: str
    op: str
    value: str

    def __str__(self) -> str:
        value = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.label}{self.op}"{value}"'

    def accepts(self, value: str) -> bool:
        """Tell whether the matcher accepts a value; a missing label has an empty one."""
        if self.op in ("=", "!="):
            return (value == self.value) is (self.op == "=")
        return bool(re.fullmatch(self.value, value, re.DOTALL)) is (self.op == "=~")


@dataclass(frozen=True)
class Selector:
    """A selector of series, and the labels that the expression around it uses."""

    name: str
    """The metric's name; empty if a matcher selects it."""
    matchers: tuple[Matcher, ...] = ()
    labels: frozenset[str] = frozenset()

    def __str__(self) -> str:
        inner = ",".join(map(str, self.matchers))
        return f"{self.name}{{{inner}}}" if inner or not self.name else self.name


def selectors(expression: str) -> list[Selector]:
    """Return the selectors of an expression; raise ValueError if it cannot be parsed."""
    return list(dict.fromkeys(_selectors(promql.parse(expression), frozenset())))


def check_matchers(text: str) -> None:
    """Raise ValueError if a text cannot stand between the braces behind a metric's name."""
    tree = promql.parse(f"x{{{text}}}")
    if not isinstance(tree, promql.VectorSelector) or tree.offset or tree.at:
        raise ValueError("there is more than a selector")
    _selector(tree, frozenset())


def _selectors(tree: Any, labels: frozenset[str]) -> Iterator[Selector]:
    """Yield the selectors below a node; `labels` are the ones that its result is grouped by."""
    if isinstance(tree, promql.VectorSelector):
        yield _selector(tree, labels)
    elif isinstance(tree, promql.MatrixSelector):
        yield _selector(tree.vector_selector, labels)
    elif isinstance(tree, (promql.ParenExpr, promql.UnaryExpr, promql.SubqueryExpr)):
        yield from _selectors(tree.expr, labels)
    elif isinstance(tree, promql.AggregateExpr):
        kept = labels
        if isinstance(tree.param, promql.StringLiteral):  # the label that count_values adds
            kept -= {tree.param.val}
        if tree.modifier and tree.modifier.type == promql.AggModifierType.By:
            kept |= _real(tree.modifier.labels)
        yield from _selectors(tree.expr, kept)
        yield from _selectors(tree.param, frozenset())
    elif isinstance(tree, promql.BinaryExpr):
        yield from _of_both(tree, labels)
    elif isinstance(tree, promql.Call):
        yield from _of_call(tree, labels)


def _of_both(tree: promql.BinaryExpr, labels: frozenset[str]) -> Iterator[Selector]:
    """Yield the selectors of both sides of an operator.

    The result has the labels of the side that may have many series for one of the other side, and
    those that it copies from there.
    """
    on, taken = frozenset[str](), frozenset[str]()
    is_plain, many_right = True, False
    if modifier := tree.modifier:
        taken = _real(modifier.group_labels or ())
        many_right = modifier.card == promql.VectorMatchCardinality.OneToMany
        if modifier.matching:
            is_plain = False
            if modifier.matching.type == promql.LabelModifierType.Include:
                on = _real(modifier.matching.labels)
    many, one = on | labels - taken, on | taken
    if is_plain and not taken:
        one |= labels
    yield from _selectors(tree.lhs, one if many_right else many)
    yield from _selectors(tree.rhs, many if many_right else one)


def _of_call(tree: promql.Call, labels: frozenset[str]) -> Iterator[Selector]:
    texts = [getattr(argument, "val", None) for argument in tree.args]
    if tree.func.name == "label_replace":
        labels = labels - {texts[1]} | _real([texts[3]])
    elif tree.func.name == "label_join":
        labels = labels - {texts[1]} | _real(texts[3:])
    for argument in tree.args:
        yield from _selectors(argument, labels)


def _real(labels: Iterable[str | None]) -> frozenset[str]:
    """Return the labels that are not variables."""
    return frozenset(label for label in labels if label and ANY not in label)


def _selector(node: promql.VectorSelector, labels: frozenset[str]) -> Selector:
    if node.matchers.or_matchers:
        raise ValueError("Prometheus has no `or` between matchers")
    name, matchers = node.name or "", []
    for one in node.matchers.matchers:
        value = one.value
        op = next(text for op, text in _OPS if op == one.op)
        if ANY in one.name:
            continue
        if ANY in value:
            labels |= {one.name}
            if op.startswith("!"):
                continue
            quoted = value if op == "=~" else re.escape(value)
            op, value = "=~", quoted.replace(ANY, ".*")
        if one.name == "__name__" and op == "=":
            name = value
            continue
        re.compile(value if op.endswith("~") else "")
        matchers.append(Matcher(one.name, op, value))
    if ANY in name:
        matchers.append(Matcher("__name__", "=~", name.replace(ANY, ".*")))
        name = ""
    return Selector(name, tuple(matchers), labels - {"__name__"})
