"""Modules learn about forks from Python, and from uWSGI, which forks without telling Python."""

from __future__ import annotations

import os
import textwrap
from typing import Any

import pytest

from tests.support.running import answer, python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")

SET_UP = """
import ctypes, json, os, sys
from types import ModuleType, SimpleNamespace
from promweb.adapters.uwsgi import tell_forks
from promweb.core import forking
calls = []
forking.in_child(lambda: calls.append("promweb"))

def child(*hooks, fork=ctypes.PyDLL(None).fork):  # the system's, as uWSGI does it
    reader, writer = os.pipe()
    pid = fork()
    if pid == 0:
        try:
            for hook in hooks:
                hook()
            os.write(writer, json.dumps(calls).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader) as stream:
        return json.load(stream)
"""


def run(program: str) -> Any:
    """Run a program in a process of its own and return what it prints as JSON."""
    return answer(SET_UP + textwrap.dedent(program))


def test_inside_of_uwsgi_it_is_asked() -> None:
    program = (
        "import sys, types; sys.modules['uwsgi'] = uwsgi = types.ModuleType('uwsgi'); "
        "sys.modules['uwsgidecorators'] = None; "
        "import promweb.adapters.flask; uwsgi.post_fork_hook()"
    )
    python(program, check=True)


def test_uwsgi_calls_once_in_each_worker() -> None:
    assert run(
        """
        hooks = []
        decorators = sys.modules["uwsgidecorators"] = ModuleType("uwsgidecorators")
        decorators.postfork = hooks.append
        tell_forks(SimpleNamespace())
        (hook,) = hooks
        hook()  # without a master the first worker is not forked
        print(json.dumps([calls, child(), child(hook, hook)]))
        """
    ) == [[], [], ["promweb"]]


def test_uwsgi_goes_on_calling_who_was_there_before() -> None:
    assert run(
        """
        sys.modules["uwsgidecorators"] = None  # not installed
        alone = SimpleNamespace()
        tell_forks(alone)
        taken = SimpleNamespace(post_fork_hook=lambda: calls.append("other"))
        tell_forks(taken)
        print(json.dumps(child(alone.post_fork_hook, taken.post_fork_hook)))
        """
    ) == ["promweb", "other"]


def test_python_that_is_told_as_well_calls_once() -> None:
    assert run(
        """
        sys.modules["uwsgidecorators"] = None
        uwsgi = SimpleNamespace()
        tell_forks(uwsgi)
        print(json.dumps(child(uwsgi.post_fork_hook, fork=os.fork)))
        """
    ) == ["promweb"]


def test_child_has_a_lock_for_definitions_of_its_own() -> None:
    """A thread that does not exist there may have held the parent's."""
    assert run(
        """
        before = forking.definitions
        print(json.dumps(child(forking.look, lambda: calls.append(forking.definitions is before))))
        """
    ) == ["promweb", False]
