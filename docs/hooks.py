"""Hooks of `mkdocs.yml`: pages from elsewhere in the repository, and their links.

Documents link to files of the repository, as GitHub shows them. Here README becomes the first page,
the documents beside it and the examples become pages, and each link leads to the page of its file.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
DOCUMENTS = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
EXAMPLES = ("fleet", "photos", "sample_project", "shop_flask", "shop_quart")
LANGUAGES = {".py": "python", ".yml": "yaml", ".toml": "toml"}

log = logging.getLogger("mkdocs.hooks.pages")  # strict: a warning is the end

_LINK = re.compile(r"\]\((?!https?:)([^)\s#]*)(#[^)\s]+)?\)")
# A package index shows README without these parts, too: see pyproject.toml.
_REPOSITORY_ONLY = re.compile(
    r"<!-- repository only: .*?<!-- repository only: end -->\n*", re.DOTALL
)
_WIDE = {"comparison.md", "compatibility.md", "messages.md", "reliability.md", "security.md"}
# Where a name may go on in the next line.
_INNER = re.compile(r"(?<=\w)[_./:]+(?=\w)")
# Resources that a browser loads by itself.
_RESOURCE = re.compile(
    r"<(?:script|img|iframe|source|link(?=[^>]* rel=\"?(?:stylesheet|preconnect|preload)))"
    r"[^>]* (?:src|href)=\"?(?:https?:)?//[^>]*>"
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show the version beside the name."""
    version = re.search(r'__version__ = "(.+)"', (ROOT / "promweb/core/version.py").read_text())
    assert version is not None
    config.site_name += f" {version[1]}"
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of files outside of `docs/`."""
    for page, source, text in _pages():
        files.append(File.generated(config, page, content=_relinked(text, source, page)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have links to files of the repository lead to their pages."""
    here = page.file.src_uri
    if here == "index.md":
        page.meta["hide"] = ["navigation"]  # it has one page
    if page.file.generated_by is not None:
        return markdown
    return _relinked(markdown, f"docs/{here}", here)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Give each cell the title of its column, which `site.css` shows on a phone.

    Tables of `_WIDE` would not fit beside the navigation if their long names did not break.
    """
    html = re.sub(r"<table>.*?</table>", _with_titles, html, flags=re.DOTALL)
    if page.file.src_uri in _WIDE:
        html = re.sub(r"<table>.*?</table>", _with_breaks, html, flags=re.DOTALL)
    return html


def _with_breaks(table: re.Match[str]) -> str:
    return re.sub(r"(?<=>)[^<]+", lambda text: _INNER.sub(r"\g<0><wbr>", text[0]), table[0])


def _with_titles(table: re.Match[str]) -> str:
    titles = [re.sub(r"<.*?>", "", title) for title in re.findall(r"<th[^>]*>(.*?)</th>", table[0])]

    def row(found: re.Match[str]) -> str:
        column = iter(titles)
        return re.sub(
            r"<td(?=[ >])",
            lambda _: f'<td data-title="{next(column, "").replace(chr(34), "&quot;")}"',
            found[0],
        )

    named = re.sub(r"<tr>.*?</tr>", row, table[0], flags=re.DOTALL)
    return re.sub(r"(?<=\d) (?=%)", "&nbsp;", named)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Name the search for screen readers, and refuse what needs the network or the repository."""
    output = output.replace('role="dialog"', 'role="dialog" aria-label="Search"', 1)
    if "repository only" in output:
        log.warning("%s has what is for the repository only", page.file.src_uri)
    for found in _RESOURCE.findall(output):
        log.warning("%s needs the network: %s", page.file.src_uri, found)
    return output


class ClassDocstrings(griffe.Extension):
    """Follow `__doc__ = MetricsBase.__doc__`, and show a default as its value."""

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        doc = cls.members.get("__doc__")
        if isinstance(doc, griffe.Attribute) and str(doc.value) == "MetricsBase.__doc__":
            source = ROOT / "promweb/core/metrics.py"
            base = griffe.visit("metrics", source, source.read_text())["MetricsBase"]
            cls.docstring = base.docstring

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        for parameter in func.parameters:
            if str(parameter.default) == "options.GROUP_BY":
                parameter.default = '"path"'  # as users read it


def _pages() -> Iterator[tuple[str, str, str]]:
    """Yield each page with the file of the repository that it is from, and its Markdown."""
    for name, page in DOCUMENTS.items():
        yield page, name, _REPOSITORY_ONLY.sub("", (ROOT / name).read_text())
    for name in EXAMPLES:
        yield f"examples/{name}.md", f"examples/{name}", _listing(ROOT / "examples" / name)


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
    if path in DOCUMENTS:
        return DOCUMENTS[path], anchor
    if path.startswith("examples/"):
        return f"examples/{path.split('/')[1]}.md", ""
    return path.removeprefix("docs/"), anchor
