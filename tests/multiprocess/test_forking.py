"""Modules hear of forks from Python, and from uWSGI, which forks without telling Python."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import pytest

from promweb.adapters.uwsgi import tell_forks
from promweb.core import forking
from tests.support.running import python


def test_inside_of_uwsgi_it_is_asked() -> None:
    program = (
        "import sys, types; sys.modules['uwsgi'] = uwsgi = types.ModuleType('uwsgi'); "
        "sys.modules['uwsgidecorators'] = None; "
        "import promweb.adapters.flask; uwsgi.post_fork_hook()"
    )
    python(program, check=True)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have one function that is to be called in a child."""
    calls: list[str] = []
    monkeypatch.setattr(forking, "_functions", [])
    monkeypatch.setattr(forking, "_pid", forking._pid)
    forking.in_child(lambda: calls.append("promweb"))
    return calls


def test_uwsgi_calls_once_in_each_worker(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[Callable[[], object]] = []
    decorators = ModuleType("uwsgidecorators")
    decorators.postfork = hooks.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uwsgidecorators", decorators)
    tell_forks(SimpleNamespace())
    (hook,) = hooks
    hook()  # without a master the first worker is not forked
    assert calls == []
    monkeypatch.setattr(forking, "_pid", -1)  # as if this were a child
    hook()
    hook()
    assert calls == ["promweb"]


def test_uwsgi_goes_on_calling_who_was_there_before(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uwsgidecorators", None)  # not installed
    alone = SimpleNamespace()
    tell_forks(alone)
    taken = SimpleNamespace(post_fork_hook=lambda: calls.append("other"))
    tell_forks(taken)
    monkeypatch.setattr(forking, "_pid", -1)
    alone.post_fork_hook()
    taken.post_fork_hook()
    assert calls == ["promweb", "other"]


def test_python_that_is_told_as_well_calls_once(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uwsgidecorators", None)
    uwsgi = SimpleNamespace()
    tell_forks(uwsgi)
    monkeypatch.setattr(forking, "_pid", -1)
    forking._forked()  # what Python calls
    uwsgi.post_fork_hook()
    assert calls == ["promweb"]
