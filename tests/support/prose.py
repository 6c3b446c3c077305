"""The sentences of the repository: in documents, docstrings, comments and messages."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

# Code, comments, the targets of links, and headings, which are not sentences.
_NOT_PROSE = re.compile(
    r"^ *```.*?^ *```|<!--.*?-->|(?<=\])\([^)]*\)|^#.*?$", re.DOTALL | re.MULTILINE
)
_PARAGRAPH = re.compile(r"\n\s*\n|\n\s*(?:[-*] |\d+\. )|\|")
_END = re.compile(r"(?<=[.!?])[)\"*]*\s+")
_COMMENT = re.compile(r"\s*(?:#|//|/\*+|\*)[ !](.*?)(?:\*/)?$|.*?  (?:#|//) (.*)")


class Sentence(NamedTuple):
    """A sentence, and the line where its paragraph or its string begins."""

    line: int
    text: str


def of_python(source: str, *, messages: bool) -> Iterator[Sentence]:
    """Yield the sentences of docstrings and comments, and with `messages` of all strings."""
    tree = ast.parse(source)
    nodes = ast.walk(tree) if messages else (n.value for n in ast.walk(tree) if _is_docstring(n))
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _sentences(node.lineno, node.value)
    yield from _of_adjacent(
        (token.start[0], token.string.lstrip("#! "))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    )


def of_comments(source: str) -> Iterator[Sentence]:
    """Yield the sentences of comments that begin with #, // or /*."""
    found = ((line, _COMMENT.match(text)) for line, text in enumerate(source.split("\n"), 1))
    yield from _of_adjacent((line, match[1] or match[2] or "") for line, match in found if match)


def of_markdown(source: str) -> Iterator[Sentence]:
    """Yield the sentences of a document, without headings and code."""
    yield from _sentences(1, _NOT_PROSE.sub(lambda found: "\n" * found[0].count("\n"), source))


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _of_adjacent(lines: Iterator[tuple[int, str]]) -> Iterator[Sentence]:
    """Yield the sentences of comments; adjacent lines belong together."""
    for _, numbered in groupby(enumerate(lines), key=lambda item: item[1][0] - item[0]):
        comment = [line for _, line in numbered]
        yield from _sentences(comment[0][0], "\n".join(text for _, text in comment))


def _sentences(line: int, text: str) -> Iterator[Sentence]:
    at = 0
    for paragraph in _PARAGRAPH.split(text):
        at = text.index(paragraph, at)
        for sentence in _END.split(" ".join(paragraph.split())):
            yield Sentence(line + text.count("\n", 0, at), sentence)
