"""Prometheus' protobuf messages, read and written by Google's runtime.

The descriptor is made here from the numbers of the fields in client_model's `metrics.proto`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.internal import api_implementation, decoder, encoder
from prometheus_client.metrics_core import Metric

__all__ = [
    "ACCEPT",
    "CONTENT_TYPE",
    "EXACT",
    "MetricFamily",
    "delimited",
    "families",
    "message_of",
    "series_of_protobuf",
    "series_of_samples",
]

ACCEPT = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""The Accept header of Prometheus 2.42 with native histograms on."""

CONTENT_TYPE = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

_TIME = ".google.protobuf.Timestamp"

_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "LabelPair": {"name": (1, "string"), "value": (2, "string")},
    "Gauge": {"value": (1, "double")},
    "Untyped": {"value": (1, "double")},
    "Exemplar": {"label": (1, "*LabelPair"), "value": (2, "double"), "timestamp": (3, _TIME)},
    "Counter": {
        "value": (1, "double"),
        "exemplar": (2, "Exemplar"),
        "created_timestamp": (3, _TIME),
    },
    "Quantile": {"quantile": (1, "double"), "value": (2, "double")},
    "Summary": {
        "sample_count": (1, "uint64"),
        "sample_sum": (2, "double"),
        "quantile": (3, "*Quantile"),
        "created_timestamp": (4, _TIME),
    },
    "Bucket": {
        "cumulative_count": (1, "uint64"),
        "upper_bound": (2, "double"),
        "exemplar": (3, "Exemplar"),
    },
    "BucketSpan": {"offset": (1, "sint32"), "length": (2, "uint32")},
    "Histogram": {
        "sample_count": (1, "uint64"),
        "sample_sum": (2, "double"),
        "bucket": (3, "*Bucket"),
        "schema": (5, "sint32"),
        "zero_threshold": (6, "double"),
        "zero_count": (7, "uint64"),
        "negative_span": (9, "*BucketSpan"),
        "negative_delta": (10, "*sint64"),
        "positive_span": (12, "*BucketSpan"),
        "positive_delta": (13, "*sint64"),
        "created_timestamp": (15, _TIME),
        "exemplars": (16, "*Exemplar"),
    },
    "Metric": {
        "label": (1, "*LabelPair"),
        "gauge": (2, "Gauge"),
        "counter": (3, "Counter"),
        "summary": (4, "Summary"),
        "untyped": (5, "Untyped"),
        "timestamp_ms": (6, "int64"),
        "histogram": (7, "Histogram"),
    },
    "MetricFamily": {
        "name": (1, "string"),
        "help": (2, "string"),
        "type": (3, "MetricType"),
        "metric": (4, "*Metric"),
        "unit": (5, "string"),
    },
}
_TYPES = ("COUNTER", "GAUGE", "SUMMARY", "UNTYPED", "HISTOGRAM", "GAUGE_HISTOGRAM")
_PACKAGE = "io.prometheus.client"


def _make_family_class() -> Any:
    Field = descriptor_pb2.FieldDescriptorProto
    scalars = {
        name: getattr(Field, f"TYPE_{name.upper()}")
        for name in ("string", "double", "uint64", "uint32", "int64", "sint32", "sint64")
    }
    file = descriptor_pb2.FileDescriptorProto(
        name="metrics.proto",
        package=_PACKAGE,
        syntax="proto2",
        dependency=["google/protobuf/timestamp.proto"],
    )
    types = file.enum_type.add(name="MetricType")
    for number, name in enumerate(_TYPES):
        types.value.add(name=name, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            repeated, kind = kind.startswith("*"), kind.lstrip("*")
            field = message.field.add(name=field_name, number=number)
            field.label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
            if kind in scalars:
                field.type = scalars[kind]
                field.options.packed = repeated
            else:
                field.type = Field.TYPE_ENUM if kind == "MetricType" else Field.TYPE_MESSAGE
                field.type_name = kind if kind.startswith(".") else f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    time = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(time)
    pool.Add(time)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.MetricFamily"))


MetricFamily: Any = _make_family_class()


EXACT = api_implementation.Type() != "python"
"""Whether the runtime writes the bytes that it read: in Python alone it has one NaN."""


def families(body: bytes) -> list[Any]:
    """Read an exposition. Each family must be what the runtime would write, byte for byte."""
    read, position = [], 0
    while position < len(body):
        length, position = decoder._DecodeVarint32(body, position)
        content = body[position : position + length]
        assert len(content) == length
        family = MetricFamily.FromString(content)
        assert family.SerializeToString(deterministic=True) == content or not EXACT
        read.append(family)
        position += length
    return read


def delimited(family: Any) -> bytes:
    """Write a family after its length, as the runtime does."""
    content: bytes = family.SerializeToString(deterministic=True)
    return encoder._VarintBytes(len(content)) + content


def message_of(metric: Metric) -> Any:
    """Return the message of a plain metric, made from its samples."""
    suffix = {"counter": "_total", "info": "_info"}.get(metric.type, "")
    kind = _TYPES.index(
        {"info": "GAUGE", "unknown": "UNTYPED"}.get(metric.type, metric.type.upper())
    )
    name = metric.name + suffix
    family = MetricFamily(name=name, help=metric.documentation, type=kind)
    if metric.unit and name.endswith(f"_{metric.unit}"):
        family.unit = metric.unit
    known: dict[Any, Any] = {}
    for sample in metric.samples:
        labels = dict(sample.labels)
        le = labels.pop("le", None) if sample.name.endswith("_bucket") else None
        key = tuple(sorted(labels.items()))
        if key not in known:
            known[key] = family.metric.add()
            for label, value in key:
                known[key].label.add(name=label, value=value)
        one = known[key]
        role = sample.name.removeprefix(metric.name)
        if role == "_created":
            _set_time(getattr(one, metric.type).created_timestamp, sample.value)
        elif metric.type in ("counter", "gauge", "info", "unknown"):
            field = {"info": "gauge", "unknown": "untyped"}.get(metric.type, metric.type)
            getattr(one, field).value = sample.value
            if sample.exemplar is not None:
                _set_exemplar(one.counter.exemplar, sample.exemplar)
        elif role == "_count":
            getattr(one, metric.type).sample_count = int(sample.value)
        elif role == "_sum":
            getattr(one, metric.type).sample_sum = sample.value
        else:
            assert le is not None, sample
            bucket = one.histogram.bucket.add(
                cumulative_count=int(sample.value), upper_bound=float(le)
            )
            if sample.exemplar is not None:
                _set_exemplar(bucket.exemplar, sample.exemplar)
    return family


def _set_exemplar(message: Any, exemplar: Any) -> None:
    for label, value in sorted(exemplar.labels.items()):
        message.label.add(name=label, value=value)
    message.value = exemplar.value
    if exemplar.timestamp is not None:
        _set_time(message.timestamp, float(exemplar.timestamp))


def _set_time(message: Any, seconds: float) -> None:
    nanoseconds = round(seconds * 1e9)
    message.SetInParent()
    message.seconds, message.nanos = nanoseconds // 10**9, nanoseconds % 10**9


Series = dict[tuple[str, tuple[tuple[str, str], ...], int | None], str]
"""Values by name, labels and time, as text: NaN is equal to itself."""


def series_of_protobuf(body: bytes) -> Series:
    """Return the series that Prometheus reads from an exposition."""
    series: Series = {}
    for family in families(body):
        for metric in family.metric:
            labels = {pair.name: pair.value for pair in metric.label}
            at = metric.timestamp_ms if metric.HasField("timestamp_ms") else None
            for name, more, value in _samples_of(family.name, metric):
                key = name, tuple(sorted({**labels, **more}.items())), at
                assert key not in series
                series[key] = repr(float(value))
    return series


def _samples_of(name: str, metric: Any) -> Iterator[tuple[str, dict[str, str], float]]:
    from promweb.core.families.numbers import text_of

    for kind in ("gauge", "counter", "untyped"):
        if metric.HasField(kind):
            yield name, {}, getattr(metric, kind).value
    if metric.HasField("summary"):
        yield f"{name}_count", {}, metric.summary.sample_count
        yield f"{name}_sum", {}, metric.summary.sample_sum
        for one in metric.summary.quantile:
            yield name, {"quantile": text_of(one.quantile)}, one.value
    if metric.HasField("histogram"):
        yield f"{name}_count", {}, metric.histogram.sample_count
        yield f"{name}_sum", {}, metric.histogram.sample_sum
        for bucket in metric.histogram.bucket:
            yield f"{name}_bucket", {"le": text_of(bucket.upper_bound)}, bucket.cumulative_count


def series_of_samples(metrics: Iterable[Metric]) -> Series:
    """Return the series that Prometheus reads from text, without times of creation."""
    return {
        (
            sample.name,
            tuple(sorted(sample.labels.items())),
            None if sample.timestamp is None else int(float(sample.timestamp) * 1000),
        ): repr(float(sample.value))
        for metric in metrics
        for sample in metric.samples
        if not (sample.name == f"{metric.name}_created" and metric.type != "gauge")
    }
