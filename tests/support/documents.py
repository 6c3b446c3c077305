"""Documents as programs: their blocks of code, and what runs them."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry

from .needs import PATH, missing
from .paths import ROOT
from .servers import free_port
from .waiting import DEADLINE, PROGRAM, eventually

DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
)

# A block of code; a comment before it may say why it cannot run.
BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- not executed: (?P<reason>[^>]+) -->\n+ *)?"
    r"```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)

# The first line of a block that is a file; pytest runs those that are tests.
_FILE = re.compile(r"# (\w+\.(?:py|yml))\n")

_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_PORT = re.compile(r"(?<=localhost:)\d+|(?<=--port )\d+")
_SERVER = re.compile(r"(\w+=\S+ )*(flask|quart) .*\brun\b|prometheus ")


class Block(NamedTuple):
    """A block that runs, and what the document says that it prints."""

    line: int
    language: str
    code: str
    printed: str


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks that run; a `text` block after one of Python is what it prints."""
    found = list(BLOCK.finditer(text))
    for block, following in zip_longest(found, found[1:]):
        code = dedent(block["code"])
        is_program = block["language"] in ("python", "console") or _FILE.match(code)
        if is_program and not block["reason"]:
            is_output = following is not None and following["language"] == "text"
            yield Block(
                text.count("\n", 0, block.start("code")),
                block["language"],
                code,
                following["code"].strip() if is_output else "",
            )


class Reader:
    """Follows a document in a directory and terminals of its own.

    The ports of the document are free ones here.
    """

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self._monkeypatch = monkeypatch
        self._namespace: dict[str, Any] = {"__name__": "document"}
        self._ports: dict[str, int] = {}
        self._servers: dict[int, subprocess.Popen[bytes]] = {}
        monkeypatch.chdir(directory)
        # The document's `flask` is the one beside this Python.
        monkeypatch.setenv("PATH", PATH)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        for port in list(self._servers):
            self._stop(port)

    def read(self, document: str, text: str) -> None:
        """Run the blocks of a document, and then its tests."""
        for block in blocks(text):
            where = f"{document}, line {block.line}"
            file = _FILE.match(block.code)
            if file:
                code = "\n" * block.line if block.language == "python" else ""
                (self._directory / file[1]).write_text(code + self._with_free_ports(block.code))
            elif block.language == "console":
                for command, printed in _COMMAND.findall(block.code):
                    self._type(command, printed.strip(), where)
            else:
                self._execute(document, block, where)
        if list(self._directory.glob("test_*.py")):
            run_tests(self._directory)

    def _execute(self, document: str, block: Block, where: str) -> None:
        self._monkeypatch.setattr(prometheus_client, "REGISTRY", CollectorRegistry())
        # Tracebacks show the line of the document.
        code = compile("\n" * block.line + block.code, document, "exec")
        with redirect_stdout(StringIO()) as out:
            exec(code, self._namespace)
        printed = "\n".join(line for line in out.getvalue().splitlines() if line)
        assert block.printed == printed, f"{where} printed\n{printed}"

    def _type(self, command: str, printed: str, where: str) -> None:
        """Run a command in a shell, or start a server and leave it running."""
        typed = self._with_free_ports(command)
        if _SERVER.match(command):
            self._start(typed)
            return

        def shown() -> tuple[int, str]:
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", typed],
                capture_output=True,
                text=True,
                timeout=PROGRAM,
                check=False,
            )
            if done.returncode == 127:
                missing(f"{shlex.split(command)[0]} is not installed")
            return done.returncode, self._with_documents_ports((done.stdout + done.stderr).strip())

        found = shown()
        # A server counts, and Prometheus scrapes, a moment after the client has its answer.
        if "/metrics" in command or "query" in command:
            end = time.monotonic() + DEADLINE
            while found != (0, printed) and time.monotonic() < end:
                time.sleep(0.2)  # between two questions
                found = shown()
        assert found == (0, printed), f"{where}: {command}\n{found[1]}"

    def _start(self, typed: str) -> None:
        words = shlex.split(typed)
        if words[0] == "prometheus":
            port = self._free_port("9090")
            words += [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data"]
        else:
            port = int(words[words.index("--port") + 1])
        if "=" in words[0]:  # a variable for the server
            words = ["env", *words]
        self._stop(port)
        try:
            server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            missing(f"{words[0]} is not installed")
        self._servers[port] = server

        def answers() -> bool:
            assert server.poll() is None, typed
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), DEADLINE):
                return True
            return False

        eventually(answers)

    def _stop(self, port: int) -> None:
        server = self._servers.pop(port, None)
        if server is not None:
            server.terminate()
            server.wait(DEADLINE)

    def _with_free_ports(self, text: str) -> str:
        return _PORT.sub(lambda port: str(self._free_port(port[0])), text)

    def _with_documents_ports(self, text: str) -> str:
        names = {str(port): name for name, port in self._ports.items()}
        return _PORT.sub(lambda port: names.get(port[0], port[0]), text)

    def _free_port(self, name: str) -> int:
        if name not in self._ports:
            self._ports[name] = free_port()
        return self._ports[name]


def run_tests(directory: Path) -> None:
    """Run the files of a document with pytest: each has a test, or serves one that has."""
    options = ("-q", "-c", "pytest.ini", "-W", "error", "-p", "no:cacheprovider")
    (directory / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PROGRAM,
        check=False,
    )
    written = "".join(path.read_text() for path in directory.glob("test_*.py"))
    tests = len(re.findall(r"^ *(?:async )?def test_", written, re.MULTILINE))
    assert f"{tests} passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout
