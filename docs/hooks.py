"""Hooks of `mkdocs.yml`: pages from elsewhere in the repository, and their links.

Documents link to files of the repository, as GitHub shows them. Here README's sections, the
documents beside it and the examples become pages, and each link leads to the page of its file.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
EXAMPLES = ("fleet", "photos", "sample_project", "shop_flask", "shop_quart")
LANGUAGES = {".py": "python", ".yml": "yaml", ".toml": "toml"}
ON_THE_FIRST_PAGE = {"Install", "Quick start", "Testing", "Licence"}
"""README's sections without a page of their own."""

log = logging.getLogger("mkdocs.hooks.pages")  # strict: a warning is the end

_LINK = re.compile(r"\]\((?!https?:)([^)\s#]*)(#[^)\s]+)?\)")
# Resources that a browser loads by itself.
_RESOURCE = re.compile(
    r"<(?:script|img|iframe|source|link(?=[^>]* rel=\"?(?:stylesheet|preconnect|preload)))"
    r"[^>]* (?:src|href)=\"?(?:https?:)?//[^>]*>"
)
_anchor = slugify(case="lower")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of files outside of `docs/`."""
    for page, source, text in _pages():
        files.append(File.generated(config, page, content=_relinked(text, source, page)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have links to files of the repository lead to their pages."""
    here = page.file.src_uri
    if page.file.generated_by is not None:
        return markdown
    return _relinked(markdown, f"docs/{here}", here)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Allow nothing that a browser would fetch from elsewhere."""
    for found in _RESOURCE.findall(output):
        log.warning("%s needs the network: %s", page.file.src_uri, found)
    return output


class ClassDocstrings(griffe.Extension):
    """Follow `__doc__ = MetricsBase.__doc__`, which is there when promweb is imported."""

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        doc = cls.members.get("__doc__")
        if isinstance(doc, griffe.Attribute) and str(doc.value) == "MetricsBase.__doc__":
            source = ROOT / "promweb/core/metrics.py"
            base = griffe.visit("metrics", source, source.read_text())["MetricsBase"]
            cls.docstring = base.docstring


def _pages() -> Iterator[tuple[str, str, str]]:
    """Yield each page with the file of the repository that it is from, and its Markdown."""
    for title, text in _sections():
        if title not in ON_THE_FIRST_PAGE:
            text = re.sub(r"^###", "##", text, flags=re.MULTILINE)
            yield _section_page(title), "README.md", f"# {title}\n{text}"
    for name in DOCUMENTS:
        yield name.lower(), name, (ROOT / name).read_text()
    for name in EXAMPLES:
        yield f"examples/{name}.md", f"examples/{name}", _listing(ROOT / "examples" / name)


@cache
def _sections() -> list[tuple[str, str]]:
    """Return the title and the text of each section of README."""
    parts = re.split(r"^## (.*)$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _section_page(title: str) -> str:
    return f"guide/{_anchor(title, '-')}.md"


def _listing(directory: Path) -> str:
    """Return the files of an example one after another."""
    listing = f"# examples/{directory.name}\n"
    for path in sorted(directory.rglob("*")):
        if path.suffix in LANGUAGES:
            name = path.relative_to(directory)
            listing += f"\n## {name}\n\n```{LANGUAGES[path.suffix]}\n{path.read_text()}```\n"
    return listing


def _relinked(text: str, source: str, page: str) -> str:
    """Return `text` with links that are good on `page`, where they were good in `source`."""

    def link(found: re.Match[str]) -> str:
        target, anchor = found[1], found[2] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        uri, anchor = _page_of(path if target else source, anchor)
        return f"]({posixpath.relpath(uri, posixpath.dirname(page) or '.')}{anchor})"

    return _LINK.sub(link, text)


def _page_of(path: str, anchor: str) -> tuple[str, str]:
    """Return the page of a file of the repository, and the anchor there."""
    if path == "README.md":
        for title, text in _sections():
            if title not in ON_THE_FIRST_PAGE:
                titles = re.findall(r"^### (.*)$", text, re.MULTILINE)
                if anchor == f"#{_anchor(title, '-')}":
                    return _section_page(title), ""
                if anchor in {f"#{_anchor(inner, '-')}" for inner in titles}:
                    return _section_page(title), anchor
        return "index.md", ""
    if path in DOCUMENTS:
        return path.lower(), anchor
    if path.startswith("examples/"):
        return f"examples/{path.split('/')[1]}.md", ""
    return path.removeprefix("docs/"), anchor
