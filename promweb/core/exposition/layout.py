"""The layout of a family: a template that is filled once for each label set.

Text is UTF-8 read as Latin-1 here, a character for each byte. Python stores a string with wide
characters if one of them is wide, so one label value could make a whole scrape slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from prometheus_client.samples import Exemplar

from ..families.children import Shape
from ..families.family import EXEMPLARY, Family, Rows
from ..families.limits import LabelValues
from ..families.numbers import text_of

__all__ = ["Layout", "batches"]

_BATCH = 64
"""How many label sets are written at a time: about a third of a millisecond of work."""


class Layout:
    """How the label sets of one family are written in one format.

    `names` restricts to samples of these names. `head` is the text before the samples. Times of
    creation are samples of the family if `created_inline`, otherwise a family of their own that
    `created_head` begins.
    """

    def __init__(
        self,
        family: Family[Any],
        *,
        names: frozenset[str] | None,
        with_created: bool,
        created_inline: bool,
        with_exemplars: bool,
        head: str,
        created_head: str,
    ) -> None:
        self._with_exemplars = with_exemplars
        self._created_inline = with_created and created_inline
        self._shape = family.shape
        shape = [*family.shape, *([("_created", None)] if self._created_inline else [])]
        kept = [
            index
            for index, (suffix, _) in enumerate(shape)
            if names is None or family.name + suffix in names
        ]
        self._kept = None if len(kept) == len(shape) else kept
        ordered = sorted((name, index) for index, name in enumerate(family.labelnames))
        self._before = [label for label in ordered if label[0] < "le"]
        self._after = [label for label in ordered if label[0] > "le"]
        self._lines = len(kept)
        self._pieces = self._template(family.name, [shape[index] for index in kept])
        self._created = ""
        wants_created = names is None or f"{family.name}_created" in names
        if with_created and wants_created and not created_inline:
            self._created = f"{family.name}_created"
        self._head = head
        self._created_head = created_head

    def write(self, rows: Rows, texts_of: Callable[[Any], tuple[str, ...]]) -> Iterator[str]:
        """Yield the text of the family, some dozen label sets at a time.

        `texts_of` returns the values of a child, in the order of the family's `shape`.
        """
        kept, lines, head = self._kept, self._lines, self._head
        before, after = bool(self._before), bool(self._after)
        with_exemplars = self._with_exemplars
        for batch in batches(rows) if lines else ():
            all_texts: list[str] = []
            all_before: list[str] = []
            all_after: list[str] = []
            for values, child in batch:
                texts: Sequence[str] = texts_of(child)
                if child.exemplars and with_exemplars:
                    texts = self._add_exemplars(texts, child.exemplars)
                rendered = child.rendered_labels or self._render_labels(child, values)
                if self._created_inline:
                    texts = (*texts, rendered[2])
                if kept is not None:
                    texts = [texts[index] for index in kept]
                all_texts += texts
                if before:
                    all_before += [rendered[0]] * lines
                if after:
                    all_after += [rendered[1]] * lines
            pieces = self._pieces * len(batch)
            width = len(self._pieces) // lines
            pieces[0] = head + pieces[0].removeprefix("\n")
            if before:
                pieces[1::width] = all_before
            if after:
                pieces[width - 2 :: width] = all_after
            pieces[width - 1 :: width] = all_texts
            pieces.append("\n")
            yield "".join(pieces)
            head = ""
        if self._created and rows:
            yield from self._write_created(rows, head + self._created_head)
        elif head:
            yield head

    def _write_created(self, rows: Rows, head: str) -> Iterator[str]:
        """Yield the times of creation as a family of its own, after `head`."""
        before, after = bool(self._before), bool(self._after)
        begin = self._created + ("{" if before or after else "")
        between = "," if before and after else ""
        end = "" if after else "} " if before else " "
        for batch in batches(rows):
            pieces = [head]
            for values, child in batch:
                rendered = child.rendered_labels or self._render_labels(child, values)
                pieces += (begin, rendered[0], between, rendered[1], end, rendered[2], "\n")
            yield "".join(pieces)
            head = ""

    def _render_labels(self, child: Any, values: LabelValues) -> tuple[str, str, str]:
        """Cache the text that is the same at every scrape, in every format with a layout."""
        before, after = _labels(self._before, values), _labels(self._after, values)
        rendered = (before, after and after + "} ", text_of(child.created))
        child.rendered_labels = rendered
        return rendered

    def _add_exemplars(
        self, texts: Sequence[str], exemplars: Mapping[int, Exemplar]
    ) -> Sequence[str]:
        texts = list(texts)
        for place, exemplar in dict(exemplars).items():  # other threads add to them
            if self._shape[place][0] in EXEMPLARY:
                texts[place] += _text_of_exemplar(exemplar)
        return texts

    def _template(self, name: str, shape: Shape) -> list[str]:
        """Return the lines of a label set in pieces, the same number for each line.

        A line's first piece ends the line before it. Empty pieces are for the labels before `le`,
        the labels after it, and the value.
        """
        pieces: list[str] = []
        for suffix, le in shape:
            pieces.append("\n" + name + suffix)
            bucket = [] if le is None else [f'le="{le}"']
            if self._before:
                pieces[-1] += "{"
                between = ",".join(["", *bucket, *([""] if self._after else [])])
                pieces += ["", between if self._after else between + "} "]
            elif self._after:
                pieces[-1] += "{" + ",".join([*bucket, ""])
            else:
                pieces[-1] += f"{{{bucket[0]}}} " if bucket else " "
            if self._after:
                pieces.append("")
            pieces.append("")
        return pieces


def batches(rows: Iterable[tuple[LabelValues, Any]]) -> Iterator[list[tuple[LabelValues, Any]]]:
    """Yield label sets in batches that a scrape writes without a pause."""
    iterator = iter(rows)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _labels(names: list[tuple[str, int]], values: LabelValues) -> str:
    return ",".join([f'{name}="{_escape(values[index])}"' for name, index in names])


def _text_of_exemplar(exemplar: Exemplar) -> str:
    labels = ",".join(
        f'{name}="{_escape(value)}"' for name, value in sorted(exemplar.labels.items())
    )
    return f" # {{{labels}}} {text_of(exemplar.value)} {exemplar.timestamp}"


def _escape(value: str) -> str:
    if not value.isascii():
        value = value.encode().decode("latin-1")
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
