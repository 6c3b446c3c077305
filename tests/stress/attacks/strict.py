"""Reading an exposition as strictly as its grammar, so that nothing can hide in it."""

from __future__ import annotations

import re
from collections import Counter

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

__all__ = ["Labels", "Samples", "read"]

Labels = frozenset[tuple[str, str]]
Samples = dict[tuple[str, Labels], float]

_NUMBER = r"(?:-?\d+(?:\.\d+)?(?:e[+-]\d+)?|\+Inf)"
_LABEL = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"[a-zA-Z_]\w*(?:\{{{_LABEL}(?:,{_LABEL})*\}})? {_NUMBER}", re.ASCII)
_COMMENT = re.compile(r"# (?:HELP|TYPE|UNIT) [a-zA-Z_]\w* [^\n]*", re.ASCII)


def read(body: bytes, *, openmetrics: bool) -> Samples:
    """Return the samples of an exposition, without `_created`; raise for what is malformed.

    Each line must match the grammar, each sample must be there once, and prometheus_client's
    parser, which is more lenient, must have found as many samples as there are lines.
    """
    text = body.decode()
    assert text.endswith("\n")
    lines = text[:-1].split("\n")
    if openmetrics:
        assert lines.pop() == "# EOF"
    comments = [line for line in lines if _COMMENT.fullmatch(line)]
    written = [line for line in lines if _SAMPLE.fullmatch(line)]
    assert len(comments) + len(written) == len(lines)
    parse = parse_openmetrics if openmetrics else parse_text
    found = [sample for family in parse(text) for sample in family.samples]
    assert len(found) == len(written)
    keys = Counter((sample.name, frozenset(sample.labels.items())) for sample in found)
    assert max(keys.values()) == 1
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for sample in found
        if not sample.name.endswith("_created")
    }
