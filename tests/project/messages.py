"""The messages of promweb, read from its source: `python -m tests.project.messages` prints a page.

The page is `docs/messages.md`. It has each error, warning and line of the log, and each finding of
`promweb doctor`. `…` stands for what only the running program knows. The cause and the remedy of a
message are mostly in it; `tests/project/remedies.py` has the others.
"""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from promweb.tools.doctor.running_service import _SELF_METRICS
from promweb.tools.doctor.waiting import WAITS
from tests.project.remedies import CAUSES, INTERNAL, REMEDIES
from tests.support.paths import ROOT

SOURCE = ROOT / "promweb"

SECTIONS = {
    "Arguments of the constructor": ("core/options.py", "core/names.py", "core/defaults"),
    "Labels and exemplars": ("core/labels", "labels.py"),
    "Decorators and instruments": (
        *("core/decorators", "core/factories.py", "core/families", "core/metrics.py"),
        *("core/mistakes.py", "core/native", "instruments.py"),
    ),
    "Applications and routes": ("core/applications.py", "core/requests", "adapters", "__init__.py"),
    "Several workers": ("multiprocess", "adapters/multiprocess.py", "deployment.py"),
    "Scrapes, the live page, and the separate server": ("server", "core/exposition", "live"),
    "Access to the metrics": ("security.py",),
    "Tests": ("testing.py", "pytest_plugin.py"),
    "The command line": ("tools", "scrapes", "__main__.py"),
}
"""Titles, and the parts of promweb whose messages are below them; the longest path counts."""

LEVELS = {"info": "INFO", "warning": "WARNING", "error": "ERROR", "debug": "DEBUG"}
LOGGED = {
    **{f"logger.{name}": level for name, level in LEVELS.items()},
    **{"logger.log": "ERROR", "_log": "", "warn_once": "WARNING", "warnings.warn": "UserWarning"},
    **{
        "self._warn": "WARNING",
        "problems.warn": "WARNING",
        "problems.tell": "INFO",
        "problems.failed": "ERROR",
    },
}
"""Calls that log, and at which level."""

PASSED_ON = {
    *("deployment.problems", "mistakes.misplaced", "mistakes.series_by_path"),
    *("names._odd", "names.name_problem", "names.prefix_problem"),
}
"""Functions that return or yield lines of the log."""

CONSTANTS = {"deployment.PRELOADED"}
"""Names of lines that other modules log."""

_ADVICE = re.compile(
    r"(?:(?<=[;.:]) |^)(?=(?:write|use|give|pass|set|install|put|have|call|choose|leave|wrap|"
    r"define|must|make|group|enable|decorate|take|correct|say|print|percent-encode|better|"
    r"start|prefer|run|look|each|it takes|it must|its labelnames)\b)",
    re.IGNORECASE,
)
"""Where the remedy begins in a message."""


class Message(NamedTuple):
    """One message, and where it is."""

    section: str
    place: str
    """The function, and a number where it has several messages."""
    kind: str
    """The class of an exception, or the level of a line of the log."""
    text: str

    @property
    def is_logged(self) -> bool:
        return self.kind in LEVELS.values() or self.kind.endswith("Warning")

    @property
    def parts(self) -> tuple[str, str]:
        """The cause and the remedy."""
        cause, _, remedy = self.text.partition(": ")
        if not remedy.startswith("must "):
            cause, *rest = _ADVICE.split(self.text, maxsplit=1)
            remedy = rest[0] if rest else ""
        return CAUSES.get(self.place, cause.strip(" ;:") or self.text), REMEDIES.get(
            self.place, remedy
        )


class Finding(NamedTuple):
    """One finding of `promweb doctor`."""

    check: str
    what: str
    why: str
    remedy: str


@cache
def messages() -> list[Message]:
    """Return every message, in the order of the source."""
    found = []
    for path, tree in _modules():
        names = _constants(tree)
        for name, value in names.items():
            if f"{path.stem}.{name}" in CONSTANTS:
                place = f"{path.stem}.{name}"
                found.append(
                    Message(
                        _section(path),
                        place,
                        "WARNING",
                        re.sub(r"\{\w+\}", "…", _text(value, names)),
                    )
                )
        for function, body in _functions(tree):
            seen: dict[str, int] = {}
            for kind, text in _said(body, names, f"{path.stem}.{function}" in PASSED_ON):
                number = seen[function] = seen.get(function, 0) + 1
                place = f"{path.stem}.{function}" + (f" {number}" if number > 1 else "")
                if not any(place.startswith(internal) for internal in INTERNAL):
                    found.append(Message(_section(path), place, kind, text))
    return found


@cache
def findings() -> list[Finding]:
    """Return every warning and every error of `promweb doctor`, in the order of the source."""
    found: dict[Finding, None] = {}
    for path, tree in _modules():
        if "doctor" not in path.parts:
            continue
        names = _constants(tree)
        for _, body in _functions(tree):
            known = {**names, **_assigned(body)}
            for call in ast.walk(body):
                if isinstance(call, ast.Call) and ast.unparse(call.func) in ("warning", "error"):
                    check, *parts = (_text(argument, known) for argument in call.args)
                    if "…" not in check:
                        found[Finding(check, *parts)] = None
    for _, check, text, why, remedy in _SELF_METRICS:
        said = re.sub(r"\{.*?\}", "…", text)
        found[Finding(check, said, why, remedy)] = None
    for wait in WAITS:
        found[Finding(wait.check, f"{wait.what} … s: ….", wait.why, wait.remedy)] = None
    return list(found)


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE), ast.parse(path.read_text())


def _section(path: Path) -> str:
    def fit(part: str) -> int:
        return len(part) if path == Path(part) or Path(part) in path.parents else 0

    return max(SECTIONS, key=lambda title: max(map(fit, SECTIONS[title])))


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Return what a module gives names."""
    return _named(tree.body)


def _assigned(body: ast.AST) -> dict[str, ast.expr]:
    """Return what a function gives names."""
    return _named(ast.walk(body))


def _named(nodes: Iterable[ast.AST]) -> dict[str, ast.expr]:
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield the functions and methods of a module with their names, nested ones as a part."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield f"{node.name}.{method.name}", method


def _said(
    body: ast.AST, names: dict[str, ast.expr], is_passed_on: bool
) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of each message of a function."""
    names = {**names, **_assigned(body)}
    for call in ast.walk(body):
        if is_passed_on and isinstance(call, (ast.Yield, ast.Return)) and call.value is not None:
            text = _text(call.value, names)
            if _is_text(text):
                yield "WARNING", text
        if not isinstance(call, ast.Call) or not call.args:
            continue
        function = ast.unparse(call.func)
        kind, arguments = _kind(function, call.args)
        if kind and arguments:
            text = _text(arguments[0], names)
            if function.endswith("problems.failed"):
                text = f"promweb could not {text}; the request was not affected."
            if _is_text(text):
                yield kind, text


def _is_text(text: str) -> bool:
    """Tell whether there are words; the others pass on what is in the list already."""
    return len(re.findall(r"[A-Za-z]{2,}", text)) > 2


def unread() -> set[str]:
    """Return the functions that log a text which is not read here."""
    return {
        f"{path.stem}.{function}"
        for path, tree in _modules()
        for function, body in _functions(tree)
        for call in ast.walk(body)
        if isinstance(call, ast.Call) and call.args
        for kind, arguments in [_kind(ast.unparse(call.func), call.args)]
        if kind in LEVELS.values()
        and arguments
        and not _is_text(_text(arguments[0], {**_constants(tree), **_assigned(body)}))
        and not ast.unparse(call.func).endswith("failed")
    }


def _kind(function: str, arguments: list[ast.expr]) -> tuple[str, list[ast.expr]]:
    if function == "_log":
        return ast.unparse(arguments[0]).removeprefix("logging."), arguments[1:]
    for name, level in LOGGED.items():
        if function == name or function.endswith("." + name):
            if name in ("logger.log", "self._warn"):  # the level, and what is logged once
                arguments = arguments[1:]
            if "DeprecationWarning" in map(ast.unparse, arguments):
                level = "DeprecationWarning"
            return level, arguments
    name = function.rpartition(".")[2]
    if re.fullmatch(r"\w*Error|BadParameter|UsageError|ClickException|Wrong", name):
        return {"Wrong": "ValueError"}.get(name, name), arguments
    return "", []


def _text(node: ast.expr, names: dict[str, ast.expr]) -> str:
    """Return a text with `…` for what is not known before the program runs."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"(?:%(?:\.\d+)?[rsdfg])+", "…", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, names) for part in node.values).replace("……", "…")
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, names) if isinstance(node.value, ast.Name) else "…"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, names) + _text(node.right, names)
    if isinstance(node, ast.Name) and node.id in names:
        rest = {name: value for name, value in names.items() if name != node.id}
        return _text(names[node.id], rest)
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".format"):
        return re.sub(r"\{\w*\}", "…", _text(node.func.value, names))  # type: ignore[attr-defined]
    return "…"


def page() -> str:
    """Return the page as Markdown."""
    logged = [message for message in messages() if message.is_logged]
    raised = [message for message in messages() if not message.is_logged]
    lines = [
        *("# Messages", "", _BEGIN, "", "## Lines of the log", "", _LOG, ""),
        *_table("line", "level", "cause", "what to do", rows=_lines(logged)),
    ]
    for title in SECTIONS:
        found = [message for message in raised if message.section == title]
        short = [(text, remedy) for text, _, _, remedy in _lines(found, with_kind=True)]
        if short:
            lines += ["", f"## {title}", "", *_table("error", "what to do", rows=short)]
    rows = [
        (f"`{found.check}`", *map(_told, (found.what, found.why, found.remedy)))
        for found in findings()
    ]
    lines += ["", "## promweb doctor", "", _DOCTOR, ""]
    lines += _table("check", "finding", "why it matters", "what to do", rows=rows)
    return "\n".join(lines) + "\n"


_BEGIN = (
    "The errors, the warnings and the lines of the log that promweb writes, but for errors about\n"
    "unknown, missing and surplus arguments, which explain themselves. `…` stands for a name or a\n"
    "value of your program. Search this page for the words around it. Where a cell is empty, the\n"
    "message itself names the cause, or says what to do."
)
_LOG = (
    "promweb writes to the logger `promweb`. It logs a wrong call of an instrument once for each\n"
    "line of your code (a hundred lines at most), and any other problem once for each metric,\n"
    "label or part of promweb. So a line that is there once may stand for many requests."
)
_DOCTOR = "[The command](command-line.md#promweb-doctor) has these checks."


def _lines(found: list[Message], *, with_kind: bool = False) -> list[tuple[str, str, str, str]]:
    """Return the rows of messages, each text once; those with one cause and remedy share a row.

    A remedy that the text has is empty, and such a message has a row of its own.
    """
    rows: dict[tuple[str, ...], list[str]] = {}
    distinct = {(message.kind, message.text): message for message in reversed(found)}
    for message in reversed(distinct.values()):  # the first of each text
        cause = CAUSES.get(message.place, "")
        remedy = message.parts[1]
        if remedy in message.text:
            remedy = ""
        code = _code(message.text)
        cell = f"`{message.kind}` {code}" if with_kind else code
        kind = "" if with_kind else message.kind
        alone = "" if remedy else message.text
        rows.setdefault((kind, _plain(cause), _plain(remedy), alone), []).append(cell)
    return [("<br>".join(cells), *key[:3]) for key, cells in rows.items()]


def _table(*titles: str, rows: list[tuple[str, ...]]) -> list[str]:
    table = [titles, ("---",) * len(titles), *rows]
    return ["| " + " | ".join(row) + " |" for row in table]


def _code(text: str) -> str:
    text = " ".join(text.split())
    if "|" in text:  # which would end the cell
        return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>"
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _told(text: str) -> str:
    return _plain(text) if re.search("[a-z]{2}", text) else "The command prints it."


_CODE = re.compile(
    r"(?<![\w`])(--[\w-]+\w(?:=\S*\w)?"  # options
    r"|[\w.]+\((?:[^()]|\([^()]*\))*\)"  # calls
    r"|\w+=(?:\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[\w'./\"-]*[\w'\"])"  # arguments
    r"|[\w.]*\w_\w[\w.]*\w|_\w{3,})"  # names
)
"""The parts of a sentence that look like code."""


def _plain(text: str) -> str:
    """Return a sentence as Markdown, with what looks like code as code."""
    text = " ".join(text.split())
    if text.startswith("must "):
        text = f"It {text}"
    if re.match(r"[a-z-]+[ ,.]", text) and not text.startswith("promweb "):
        text = text[:1].upper() + text[1:]
    if text and text[-1] not in ".?!…":
        text += "."
    if "`" not in text:
        text = _CODE.sub(r"`\1`", text)
    return text.replace("|", "&#124;").replace("<", "&lt;").replace("*", r"\*")


if __name__ == "__main__":
    print(page(), end="")
