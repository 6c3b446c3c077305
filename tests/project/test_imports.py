"""The imports that each part of promweb may have, and the modules that it loads."""

from __future__ import annotations

import ast
import inspect
import pydoc
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import promweb
from promweb import instruments, labels, multiprocess, security, server, testing
from promweb.core.arguments import Arguments
from tests.support.needs import module
from tests.support.running import answer

PACKAGE = Path(promweb.__file__).parent
CORE = sorted((PACKAGE / "core").rglob("*.py"))
ADAPTERS = sorted((PACKAGE / "adapters").glob("*.py"))
PROTOCOLS = sorted((PACKAGE / "adapters/protocols").glob("*.py"))
SHARED = [PACKAGE / "__init__.py", *sorted((PACKAGE / "server").glob("*.py"))]


# --- imports ------------------------------------------------------------------------------------


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (level, module) for every import of a file, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield node.level, module
            if not module:
                yield from ((node.level, alias.name) for alias in node.names)


def packages(path: Path) -> set[str]:
    """Return the top-level packages that a file imports from outside of promweb."""
    return {module.partition(".")[0] for level, module in imports(path) if level == 0}


def test_there_is_something_to_check() -> None:
    assert {"exchange.py", "family.py", "metrics.py"} <= {path.name for path in CORE}
    assert {"flask.py"} <= {path.name for path in ADAPTERS}


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_core_imports_no_framework_and_no_event_loop(path: Path) -> None:
    forbidden = {"flask", "quart", "werkzeug", "asyncio", "anyio", "trio", "promweb"}
    assert packages(path) & forbidden == set()
    known = {*sys.stdlib_module_names, "prometheus_client", "typing_extensions"}
    assert packages(path) <= known  # the last one for type checkers alone


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_core_imports_nothing_of_promweb_but_itself(path: Path) -> None:
    deepest = len(path.relative_to(PACKAGE / "core").parts)
    outside = {module for level, module in imports(path) if level > deepest}
    assert outside == set()


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: path.stem)
def test_adapters_know_one_framework_each(path: Path) -> None:
    assert not {"flask", "quart"} <= packages(path)
    modules = {module for _, module in imports(path)}
    assert not {"flask", "quart"} <= modules


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_protocols_know_no_framework(path: Path) -> None:
    assert packages(path) & {"flask", "quart", "werkzeug"} == set()


@pytest.mark.parametrize("path", SHARED, ids=lambda path: path.stem)
def test_shared_modules_know_no_framework(path: Path) -> None:
    assert packages(path) & {"flask", "quart", "werkzeug", "anyio", "trio"} == set()


NEW_MODULES = """
    import json, sys
    import {first}
    before = set(sys.modules)
    import {second}
    new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
    print(json.dumps(sorted(new & {{"flask", "quart", "werkzeug", "anyio", "trio", "asyncio",
                                    "concurrent", "http", "socketserver"}})))
"""


def test_importing_promweb_loads_no_framework_and_no_event_loop() -> None:
    assert answer(NEW_MODULES.format(first="prometheus_client", second="promweb")) == []


def test_the_check_of_loaded_modules_can_fail() -> None:
    assert "flask" in answer(NEW_MODULES.format(first="prometheus_client", second="flask"))


def test_running_flask_application_loads_neither_quart_nor_anyio() -> None:
    loaded = answer(
        """
        import json, sys
        from flask import Flask, request
        from promweb import PrometheusMetrics

        app = Flask("shop")
        metrics = PrometheusMetrics(app, in_progress=True, request_size=True, response_size=True)

        @app.route("/")
        @metrics.counter("calls", "Calls.", labels={"path": lambda: request.path})
        @metrics.histogram("time", "Time.", labels={"status": lambda r: r.status_code})
        def index():
            return (chunk for chunk in "ab")

        client = app.test_client()
        assert client.get("/").data == b"ab"
        assert b'calls_total{path="/"} 1.0' in client.get("/metrics").data
        metrics.start_http_server(0, "127.0.0.1").close()
        print(json.dumps([n for n in ("quart", "anyio", "trio", "hypercorn") if n in sys.modules]))
        """
    )
    assert loaded == []


def test_running_quart_application_loads_no_flask_adapter() -> None:
    module("quart")
    loaded = answer(
        """
        import asyncio, json, sys
        from quart import Quart
        from promweb import AsyncPrometheusMetrics

        app = Quart("shop")
        AsyncPrometheusMetrics(app)

        async def main():
            assert (await app.test_client().get("/metrics")).status_code == 200

        asyncio.run(main())
        print(json.dumps([n for n in sys.modules if n.startswith("promweb.adapters.")]))
        """
    )
    assert "promweb.adapters.quart" in loaded
    assert "promweb.adapters.flask" not in loaded


MISSING = """
    import json, sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == {blocked!r}:
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

    sys.meta_path.insert(0, Blocker())
    import promweb
    try:
        promweb.{name}
    except ImportError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.mark.parametrize(
    ("name", "framework", "missing"),
    [
        ("PrometheusMetrics", "Flask", "flask"),
        ("RESTfulPrometheusMetrics", "Flask", "flask"),
        ("ConnexionPrometheusMetrics", "Flask", "flask"),
        ("AsyncPrometheusMetrics", "Quart", "quart"),
    ],
)
def test_missing_framework_is_named_with_the_remedy(
    name: str, framework: str, missing: str
) -> None:
    kind, text = answer(MISSING.format(blocked=missing, name=name))
    assert kind == "ImportError"
    assert name in text
    assert f"needs {framework}" in text
    assert f"pip install 'promweb[{framework.lower()}]'" in text


def test_broken_installation_of_a_framework_is_not_called_missing() -> None:
    kind, text = answer(MISSING.format(blocked="werkzeug", name="PrometheusMetrics"))
    assert kind == "ModuleNotFoundError"
    assert "werkzeug" in text
    assert "pip install" not in text


def test_public_names() -> None:
    for name in promweb.__all__:
        assert getattr(promweb, name) is not None
    assert promweb.PrometheusMetrics is promweb.PrometheusMetrics
    assert promweb.__version__[0].isdigit()


@pytest.mark.parametrize("name", ["PrometheusMetric", "flask", "_LAZY_", "__path__x"])
def test_unknown_attribute_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'promweb' has no attribute '{name}'"):
        getattr(promweb, name)
    assert not hasattr(promweb, name)


def test_completion_and_help_show_the_public_names_and_nothing_else() -> None:
    assert sorted(dir(promweb)) == sorted(promweb.__all__)
    shown = pydoc.plain(pydoc.render_doc(promweb))
    for name in set(promweb.__all__) - {"__version__"}:
        assert name in shown
    assert "_THEIRS" not in shown
    assert "import_module" not in shown


def test_help_works_without_the_frameworks_that_are_not_installed() -> None:
    program = """
        import json, pydoc, sys
        for name in {missing!r}:
            sys.modules[name] = None
        import promweb
        pydoc.render_doc(promweb)
        print(json.dumps(dir(promweb)))
    """
    for missing, hidden in (
        (["quart"], ["AsyncPrometheusMetrics"]),
        (["anyio"], ["AsyncPrometheusMetrics", "ConnexionPrometheusMetrics"]),
        (["flask", "quart"], [name for name in promweb.__all__ if name.endswith("Metrics")]),
    ):
        shown = answer(program.format(missing=missing))
        assert set(promweb.__all__) - set(shown) == set(hidden)


def public() -> Iterator[tuple[str, object]]:
    """Yield what users import, and the methods that promweb gives it."""
    for where in (promweb, instruments, labels, multiprocess, security, server, testing):
        for name in where.__all__:
            found = getattr(where, name)
            if inspect.isclass(found) or inspect.isfunction(found):
                yield name, found
            if inspect.isclass(found):
                for method, member in inspect.getmembers(found):
                    function = inspect.unwrap(getattr(member, "__func__", member))
                    if method[0] != "_" and inspect.isfunction(function):
                        yield f"{name}.{method}", function


def test_public_docstrings_have_an_example() -> None:
    found = dict(public())
    assert len(found) > 100
    without = [
        name for name, thing in found.items() if "\n\n    " not in (inspect.getdoc(thing) or "")
    ]
    assert without == []


def test_type_checkers_know_all_arguments() -> None:
    explicit = inspect.signature(promweb.PrometheusMetrics.__init__).parameters
    assert set(Arguments.__annotations__) == set(explicit) - {"self", "app"}


STDLIB_MODULES = {"functools", "inspect", "os", "re", "sys", "threading", "warnings"}


@pytest.mark.parametrize("module", ["", ".multiprocess"])
def test_what_else_the_exporters_modules_have(module: str) -> None:
    theirs = import_module(f"prometheus_flask_exporter{module}")
    ours = import_module(f"promweb{module}")
    names = {
        name
        for name in vars(theirs)
        if not name.startswith("_")
        and name not in {*STDLIB_MODULES, "ABCMeta", "abstractmethod", "multiprocess"}
    }
    assert {"Counter", "current_app"} <= names or "MultiProcessCollector" in names
    before = dir(ours)
    for name in names:
        found, original = getattr(ours, name), getattr(theirs, name)
        if not (getattr(original, "__module__", "") or "").startswith("prometheus_flask_exporter"):
            # An unbound proxy of Flask compares with nothing.
            assert found is original or found == original, name
    assert set(dir(ours)) - set(before) <= set(ours.__all__)
    assert not {"Counter", "CollectorRegistry"} & set(dir(ours))


def test_the_import_error_names_the_module_that_is_missing() -> None:
    kind, text = answer(MISSING.format(blocked="anyio", name="AsyncPrometheusMetrics"))
    assert kind == "ImportError"
    assert text.startswith("promweb.AsyncPrometheusMetrics needs anyio, which is not installed.")
    assert "pip install 'promweb[quart]'. For Flask, use PrometheusMetrics" in text
    kind, text = answer(MISSING.format(blocked="flask", name="current_app"))
    assert kind == "ImportError"
    assert text.startswith("promweb.current_app needs Flask, which is not installed.")
