"""The documents are true: their code runs and prints what they say, their lists are complete."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import prometheus_client
import pytest
import trustme
from prometheus_client import CollectorRegistry

import promweb
from promweb import AsyncPrometheusMetrics, PrometheusMetrics
from promweb.core.conventions import LABELS

from .programs.differences import DIFFERENCES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
)

# A block of code; a comment before it may say why it cannot run.
_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- not executed: (?P<reason>[^>]+) -->\n+ *)?"
    r"```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


# The first line of a block that is a file; pytest runs those that are tests.
_FILE = re.compile(r"# (\w+\.py)\n")


class Block(NamedTuple):
    """A block of Python, and what the document says that it prints."""

    line: int
    code: str
    printed: str | None


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of Python that run; a `text` block after one is what it prints."""
    found = list(_BLOCK.finditer(text))
    for block, following in zip_longest(found, found[1:]):
        if block["language"] == "python" and not block["reason"]:
            is_output = following is not None and following["language"] == "text"
            yield Block(
                text.count("\n", 0, block.start("code")),
                dedent(block["code"]),
                following["code"] if following is not None and is_output else None,
            )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_code_of_a_document_runs_and_prints_what_it_says(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the examples of TLS read.
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    monkeypatch.chdir(tmp_path)

    namespace: dict[str, Any] = {"__name__": "document"}
    for block in blocks((ROOT / document).read_text()):
        file = _FILE.match(block.code)
        if file:
            (tmp_path / file[1]).write_text("\n" * block.line + block.code)
            continue
        monkeypatch.setattr(prometheus_client, "REGISTRY", CollectorRegistry())
        # Tracebacks show the line of the document.
        code = compile("\n" * block.line + block.code, document, "exec")
        with redirect_stdout(StringIO()) as out:
            exec(code, namespace)
        printed = "\n".join(line for line in out.getvalue().splitlines() if line)
        assert (block.printed or "").strip() == printed, f"{document}, line {block.line}"
    if list(tmp_path.glob("*.py")):
        run_tests(tmp_path)


def run_tests(directory: Path) -> None:
    """Have pytest run the files of a document: each has a test, or serves one that has."""
    options = ("-q", "-c", "pytest.ini", "-W", "error", "-p", "no:cacheprovider")
    (directory / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    written = "".join(path.read_text() for path in directory.glob("test_*.py"))
    tests = len(re.findall(r"^ *(?:async )?def test_", written, re.MULTILINE))
    assert f"{tests} passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout


def test_no_block_of_a_document_is_forgotten() -> None:
    for document in DOCUMENTS:
        text = (ROOT / document).read_text()
        found = list(_BLOCK.finditer(text))
        assert text.count("```") == 2 * len(found), document
        # Whatever else looks like Python would not be executed.
        languages = {block["language"] for block in found}
        assert languages <= {"python", "text", "sh", "diff", "yaml", "promql", ""}, document
        # The site's Markdown takes less for no part of the list item.
        assert not re.search(r"^ {1,3}(\*|```)", text, re.MULTILINE), document
        not_executed = [block for block in found if block["reason"]]
        assert len(not_executed) == text.count("\n<!-- not executed"), document
    assert len(list(blocks(README))) > 10


def test_readme_has_the_list_of_deliberate_differences() -> None:
    listed = README.partition("<!-- differences")[2].partition("<!-- end of differences -->")[0]
    sentences = [" ".join(item.split()) for item in re.split(r"^\* ", listed, flags=re.M)[1:]]
    assert sentences == [known.sentence for known in DIFFERENCES]


@pytest.mark.parametrize("metrics_class", [PrometheusMetrics, AsyncPrometheusMetrics])
def test_readme_has_every_constructor_argument_with_its_default(metrics_class: type) -> None:
    table = README.partition("## Configuration")[2].partition("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", table, re.MULTILINE)
    assert [
        (name, ast.literal_eval(default) if default else inspect.Parameter.empty)
        for name, default in rows
    ] == [
        (parameter.name, parameter.default)
        for parameter in inspect.signature(metrics_class).parameters.values()
    ]


@pytest.mark.parametrize("document", ["README.md", "docs/index.md"])
def test_the_oldest_versions_are_named(document: str) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    oldest = {
        name: re.search(rf'"?{name}>=([\d.]+)[",]', project)[1]  # type: ignore[index]
        for name in ("flask", "quart", "prometheus-client")
    }
    python = re.search(r'requires-python = ">=([\d.]+)"', project)[1]  # type: ignore[index]
    assert (
        f"Python {python}, Flask {oldest['flask']}, Quart {oldest['quart']} and "
        f"prometheus_client {oldest['prometheus-client']}, or newer."
    ) in (ROOT / document).read_text()


def test_the_reference_has_every_public_name() -> None:
    reference = (ROOT / "docs/reference.md").read_text()
    listed = set(re.findall(r"^(?:::: |### `)([\w.]+)", reference, re.MULTILINE))
    modules = {"labels", "multiprocess", "security", "server", "testing"}
    names = {*promweb.__all__, *modules} - {"__version__"}
    assert {f"promweb.{name}" for name in names} <= listed


def test_readme_names_every_default_family() -> None:
    names = set(re.findall(r"^\| `(flask_\w+)`", README, re.MULTILINE))
    prefixes = {name.removeprefix("flask_") for name in names}
    core = "".join(
        path.read_text()
        for path in (ROOT / "promweb/core").glob("*.py")
        if path.name != "conventions.py"
    )
    defined = set(re.findall(r'f"\{(?:self\._)?prefix\}(\w+)"', core))
    defined |= set(re.findall(r'"(http_\w+)"', core))
    assert prefixes == defined


def test_readme_names_every_family_and_label_of_the_conventions() -> None:
    section = README.partition("### OpenTelemetry's names")[2].partition("\n## ")[0]
    source = (ROOT / "promweb/core/conventions.py").read_text()
    defined = {*re.findall(r'"(http_server_\w+)"', source), *LABELS}
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == defined


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / document).read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / document).parent / path if path else ROOT / document
        assert found.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert anchor in {_anchor(title) for title in titles}, target


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_architecture_lists_every_module_below_what_it_imports_from() -> None:
    """Each module may import those that are listed above it."""
    listed = re.findall(r"^\| `([\w./]+\.py)` \|", ARCHITECTURE, re.MULTILINE)
    package = ROOT / "promweb"
    there = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.name != "__init__.py" or path.parent == package  # the others have no code
    }
    assert sorted(listed) == sorted(there)
    for position, module in enumerate(listed):
        assert set(imported(package, module)) <= set(listed[:position]), module


def imported(package: Path, module: str) -> Iterator[str]:
    """Yield the modules of promweb that a module imports when it is loaded."""
    path = package / module
    parts = ["promweb", *Path(module).with_suffix("").parts]
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = importlib.util.resolve_name(
            "." * node.level + (node.module or ""), ".".join(parts[:-1])
        )
        base = base.removeprefix("promweb.").replace(".", "/")
        for alias in node.names:
            name = f"{base}/{alias.name}.py"
            yield name if (package / name).exists() else f"{base}.py"
