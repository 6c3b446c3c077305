"""Writing families as text, fast: one template per family, filled once per label set.

A template is made for each family and format the first time that it is needed, and compared
there with what prometheus_client's encoder writes for the same samples. Where the two differ (a
name that needs escaping, a version with other rules) the encoder writes the family.

Text is UTF-8 read as Latin-1 here, a character for each byte. Otherwise one character of a
stranger's would make all the text that it is joined with wide, and the scrape slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from ..families.family import Family

__all__ = [
    "FamilyMetric",
    "Format",
    "LabelValues",
    "Layout",
    "Shape",
    "created_series_enabled",
    "text_of",
    "texts_of_counts",
]

LabelValues = tuple[str, ...]
Shape = Sequence[tuple[str, str | None]]


_BATCH = 64
"""Label sets that are written at a time: about a third of a millisecond of work."""

_EXEMPLARY = ("_bucket", "_total")
"""The suffixes of samples that may have an exemplar (OpenMetrics 1.0)."""

_AWKWARD = 'quote " backslash \\ line\nbreak \r\n percent %s \N{SNOWMAN}'


class FamilyMetric(Metric):
    """What a family's `collect` yields: a `Metric` that makes samples when they are asked for."""

    def __init__(self, family: Family[Any], names: frozenset[str] | None = None) -> None:
        self.family = family
        self.names = names
        self.name = family.name
        self.documentation = family.documentation
        self.type = family.type
        self.unit = family.unit if names is None else ""  # as prometheus_client restricts

    @property
    def samples(self) -> list[Sample]:  # type: ignore[override]
        """The samples of all label sets, as of now."""
        rows = self.family.label_sets()
        with_created = self.family.storage is None and created_series_enabled()
        return list(_samples(self.family, rows, with_created, self.names))

    def write(self, format: Format, with_created: bool) -> Iterator[str] | None:
        """Return the text in batches, by the family's layout; None if it has none."""
        layout = self.family.layout(format, with_created, self.names)
        return None if layout is None else layout.write(self.family.label_sets())

    def _restricted_metric(self, names: Iterable[str]) -> FamilyMetric | None:
        """Do what prometheus_client's private method of this name does, without the samples.

        Its restricted registry calls it; if it no longer did, the public `samples` would serve.
        """
        wanted = self.family.sample_names.intersection(names)
        return FamilyMetric(self.family, wanted) if wanted and self.family.label_sets() else None


class Format(NamedTuple):
    """How to write: an encoder of prometheus_client, and what distinguishes it."""

    encode: Callable[[Any], bytes]
    openmetrics: bool
    escaping: str

    def write(self, metric: Metric) -> str:
        """Return one metric as the encoder writes it, without the end of the exposition."""
        return self.encode(_Only(metric)).decode("latin-1").removesuffix("# EOF\n")


class Layout:
    """How the label sets of one family are written in one format.

    `names` restricts to samples of these names.
    """

    def __init__(
        self,
        family: Family[Any],
        format: Format,
        *,
        with_created: bool,
        names: frozenset[str] | None = None,
    ) -> None:
        self._family = family
        self._format = format
        self._with_created = with_created
        self._names = names
        self._created_inline = with_created and format.openmetrics
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
        self._pieces = self._template([shape[index] for index in kept])
        self._created = ""
        wants_created = names is None or f"{family.name}_created" in names
        if with_created and wants_created and not format.openmetrics:
            self._created = f"{family.name}_created"
        self._head = format.write(_without_samples(FamilyMetric(family, names)))
        self._created_head = format.write(
            Metric(f"{family.name}_created", family.documentation, "gauge")
        )

    def write(
        self,
        rows: Iterable[tuple[LabelValues, Any]],
        texts_of: Callable[[Any], tuple[str, ...]] | None = None,
    ) -> Iterator[str]:
        """Yield the text of the family, some dozen label sets at a time.

        `texts_of` gives the texts of a child; unless given, the family does.
        """
        texts_of = texts_of or self._family.texts
        kept, lines, head = self._kept, self._lines, self._head
        before, after = bool(self._before), bool(self._after)
        openmetrics = self._format.openmetrics
        for batch in _batches(rows) if lines else ():
            all_texts: list[str] = []
            all_before: list[str] = []
            all_after: list[str] = []
            for values, child in batch:
                texts: Sequence[str] = texts_of(child)
                if child.exemplars and openmetrics:
                    texts = self._with_exemplars(texts, child.exemplars)
                written = child.written or self._remember(child, values)
                if self._created_inline:
                    texts = (*texts, written[2])
                if kept is not None:
                    texts = [texts[index] for index in kept]
                all_texts += texts
                if before:
                    all_before += [written[0]] * lines
                if after:
                    all_after += [written[1]] * lines
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

    def _write_created(self, rows: Iterable[tuple[LabelValues, Any]], head: str) -> Iterator[str]:
        """Yield the times of creation as a family of its own, after `head`."""
        before, after = bool(self._before), bool(self._after)
        begin = self._created + ("{" if before or after else "")
        between = "," if before and after else ""
        end = "" if after else "} " if before else " "
        for batch in _batches(rows):
            pieces = [head]
            for values, child in batch:
                written = child.written or self._remember(child, values)
                pieces += (begin, written[0], between, written[1], end, written[2], "\n")
            yield "".join(pieces)
            head = ""

    def agrees(self) -> bool:
        """Tell whether the encoder writes the same for a label set that needs every rule."""
        family = self._family
        child = family.child_class(family)
        for amount in (0.001, 3.0, 12345678.9):
            child.observe(amount) if hasattr(child, "observe") else child.inc(amount)
            child.exemplify({"trace": _AWKWARD, "span": ""}, amount)
        rows = [((_AWKWARD,) * len(family.labelnames), child)]
        metric = _without_samples(FamilyMetric(family, self._names))
        metric.samples = list(_samples(family, rows, self._with_created, self._names))
        return "".join(self.write(rows)) == self._format.write(metric)

    def _remember(self, child: Any, values: LabelValues) -> tuple[str, str, str]:
        """Keep what is the same at every scrape, in every format that has a layout."""
        before, after = _labels(self._before, values), _labels(self._after, values)
        child.written = written = (before, after and after + "} ", text_of(child.created))
        return written

    def _with_exemplars(
        self, texts: Sequence[str], exemplars: Mapping[int, Exemplar]
    ) -> Sequence[str]:
        texts = list(texts)
        for place, exemplar in [*exemplars.items()]:
            if self._family.shape[place][0] in _EXEMPLARY:
                texts[place] += _text_of_exemplar(exemplar)
        return texts

    def _template(self, shape: Shape) -> list[str]:
        """Return the lines of a label set in pieces, as many for each line, which ends the one
        before it.

        Empty ones are for the labels before `le`, the labels after it, and the value, in a line.
        """
        pieces: list[str] = []
        for suffix, le in shape:
            pieces.append("\n" + self._family.name + suffix)
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


def _batches(
    rows: Iterable[tuple[LabelValues, Any]],
) -> Iterator[list[tuple[LabelValues, Any]]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def text_of(value: float) -> str:
    """Return a number as the exposition formats write it."""
    if -1e6 < value < 1e6:  # from there on the exposition has exponents where Python has none
        return repr(float(value))
    return floatToGoString(value)  # type: ignore[no-any-return,no-untyped-call]


def texts_of_counts(buckets: Sequence[float]) -> list[str]:
    """Return the texts of cumulative counts, of which many are like the one before."""
    texts = []
    last: float | None = None
    text = ""
    for count in accumulate(buckets):
        if count != last:
            last, text = count, _COUNTS.get(count) or text_of(count)
        texts.append(text)
    return texts


_COUNTS: dict[float, str] = {count: text_of(count) for count in range(1000)}
"""The texts of small counts, which most buckets of most label sets have."""


def created_series_enabled() -> bool:
    """Tell whether prometheus_client exposes `_created` series; it has a switch but no getter.

    Not for multiprocess mode, which has none: there a metric leaves its trace in a file.
    """
    probe = Counter("promweb_probe", "Never registered.", registry=None)
    return len(next(iter(probe.collect())).samples) > 1


class _Only:
    """A registry of one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> list[Metric]:
        return [self._metric]


def _samples(
    family: Family[Any],
    rows: Iterable[tuple[LabelValues, Any]],
    with_created: bool,
    names: frozenset[str] | None,
) -> Iterator[Sample]:
    with_created = with_created and family.type != "gauge"
    for values, child in rows:
        labels = dict(zip(family.labelnames, values, strict=True))
        numbers = [*zip(family.shape, family.numbers(child), strict=True)]
        if with_created:
            numbers.append((("_created", None), child.created))
        exemplars = (child.exemplars or {}).copy()
        for place, ((suffix, le), number) in enumerate(numbers):
            name = family.name + suffix
            if names is None or name in names:
                exemplar = exemplars.get(place) if suffix in _EXEMPLARY else None
                le_labels = labels if le is None else {**labels, "le": le}
                yield Sample(name, le_labels, number, None, exemplar)


def _without_samples(metric: FamilyMetric) -> Metric:
    return Metric(metric.name, metric.documentation, metric.type, metric.unit)


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
