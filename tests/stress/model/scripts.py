"""Scripts of requests and setups of applications: the input of the model test."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

ROUTES = (
    "plain",
    "counted",
    "timed",
    "untracked",
    "hidden",
    "hidden_inside",
    "private",
    "generator",
    "late",
    "klass",
)
"""The endpoints of the application; each has other decorators."""

ALLOWED = ("GET", "HEAD", "POST", "OPTIONS")

BEFORE, VIEW, CHUNK = 0.125, 0.25, 0.5
"""Seconds that hooks, views and the parts of a body take. Sums of them are exact."""


@dataclass(frozen=True)
class Setup:
    """How an application and its metrics are made."""

    group_by: str = "path"
    histogram: bool = True
    in_progress: bool = True
    sizes: bool = False
    default_labels: str = ""
    excludes_decorators: bool = True
    registers_default: bool = False
    page: str = ""
    """The handler of 500: none, `answers` or `raises`."""


@dataclass(frozen=True)
class Script:
    """One request. The first stage that answers or raises skips the ones between."""

    route: str = "plain"
    number: int = 1
    method: str = "GET"
    sent: int = 0
    """Bytes of the request's body."""
    before: str = ""
    helper: str = ""
    """Whether the view calls a decorated function first, which `returns` or `raises`."""
    view: str = "returns"
    status: int = 200
    after: str = ""
    teardown: str = ""
    testing: bool = False
    """Whether unhandled exceptions leave the application."""
    label: str = ""
    """Whether the label callables that may raise do so."""
    chunks: int = 2
    ending: str = "ends"
    announced: bool = False
    """Whether the stream announces its length."""
    hangs: str = ""
    """Where the request hangs until the test lets it go on (Quart)."""

    @property
    def path(self) -> str:
        return f"/{self.route}/{self.number}"


setups = st.builds(
    Setup,
    group_by=st.sampled_from(["path", "path", "url_rule", "endpoint", "shelf"]),
    histogram=st.booleans(),
    in_progress=st.booleans(),
    sizes=st.booleans(),
    default_labels=st.sampled_from(["", "", "constant", "callable", "late"]),
    excludes_decorators=st.booleans(),
    registers_default=st.booleans(),
    page=st.sampled_from(["", "", "answers", "raises"]),
)


def _mostly(*rare: str) -> st.SearchStrategy[str]:
    return st.sampled_from(("",) * (3 * len(rare)) + rare)


def scripts(hangs: tuple[str, ...] = ()) -> st.SearchStrategy[Script]:
    """Return scripts, hanging at one of `hangs` if there are any."""
    return st.builds(
        Script,
        route=st.sampled_from((*ROUTES, "none")),
        number=st.integers(1, 2),
        method=st.sampled_from(["GET"] * 5 + ["HEAD", "POST", "POST", "OPTIONS", "PUT", "BREW"]),
        sent=st.sampled_from([0, 0, 5, 100]),
        before=_mostly("answers", "aborts", "raises", "handled"),
        helper=_mostly("returns", "returns", "raises"),
        view=st.sampled_from(
            ["returns", "returns", "returns", "aborts", "handled", "raises", "exits", "streams"]
        ),
        status=st.sampled_from([200, 200, 201, 204, 304, 404, 500, 503]),
        after=_mostly("changes", "replaces", "raises"),
        teardown=_mostly("raises"),
        testing=st.booleans(),
        label=_mostly("raises"),
        chunks=st.integers(0, 3),
        ending=st.sampled_from(["ends", "ends", "raises"]),
        announced=st.booleans(),
        hangs=st.sampled_from(hangs or ("",)),
    ).filter(_is_plain)


def _is_plain(script: Script) -> bool:
    """Tell whether a script has one end only."""
    if script.view == "exits" and (script.teardown or script.hangs):
        return False
    return script.hangs != "label" or not script.label
