"""What the core may import, and recording from signal handlers, `__del__` and forked children."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import promweb

PACKAGE = Path(promweb.__file__).parent
CORE = sorted((PACKAGE / "core").rglob("*.py"))
ADAPTERS = sorted((PACKAGE / "adapters").glob("*.py"))


def run(script: str) -> Any:
    """Run a program in a fresh interpreter and return what it prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


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
    assert packages(path) <= {*sys.stdlib_module_names, "prometheus_client"}


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


@pytest.mark.parametrize("path", [PACKAGE / "__init__.py", PACKAGE / "server/http.py"], ids=str)
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
    assert run(NEW_MODULES.format(first="prometheus_client", second="promweb")) == []


def test_the_check_of_loaded_modules_can_fail() -> None:
    assert "flask" in run(NEW_MODULES.format(first="prometheus_client", second="flask"))


def test_running_flask_application_loads_neither_quart_nor_anyio() -> None:
    loaded = run(
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
    pytest.importorskip("quart")
    loaded = run(
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
        ("AsyncPrometheusMetrics", "Quart", "anyio"),  # comes with the same extra
    ],
)
def test_missing_framework_is_named_with_the_remedy(
    name: str, framework: str, missing: str
) -> None:
    kind, text = run(MISSING.format(blocked=missing, name=name))
    assert kind == "ImportError"
    assert name in text
    assert f"needs {framework}" in text
    assert f"pip install 'promweb[{framework.lower()}]'" in text


def test_broken_installation_of_a_framework_is_not_called_missing() -> None:
    kind, text = run(MISSING.format(blocked="werkzeug", name="PrometheusMetrics"))
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


# --- recording while recording ------------------------------------------------------------------

SET_UP = """
import gc, json, os, signal, threading
from prometheus_client import CollectorRegistry
from promweb import PrometheusMetrics

registry = CollectorRegistry()
metrics = PrometheusMetrics.for_app_factory(registry=registry)
labels = {"who": lambda: who}
who = "a"

@metrics.counter("jobs", "Jobs.", labels=labels)
@metrics.gauge("busy", "Busy.", labels=labels)
@metrics.histogram("time", "Time.", labels=labels)
@metrics.summary("size", "Size.", labels=labels)
def job():
    pass

FAMILIES = [registry._names_to_collectors[name] for name in ("jobs", "busy", "time", "size")]

def values():
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name in ("jobs_total", "busy", "time_count", "size_count", "build")
    }
"""


def expected(who: str, count: float) -> dict[str, float]:
    return {
        f"jobs_total['{who}']": count,
        f"busy['{who}']": 0.0,
        f"time_count['{who}']": count,
        f"size_count['{who}']": count,
    }


HANDLERS = {
    "signal handler": """
        signal.signal(signal.SIGUSR1, lambda *_: job())
        def interrupt():
            signal.raise_signal(signal.SIGUSR1)
    """,
    "__del__": """
        class Resource:
            def __del__(self):
                job()
        def interrupt():
            resource = Resource()
            del resource
    """,
    "__del__ of a cycle": """
        class Resource:
            def __del__(self):
                job()
        def interrupt():
            resource = Resource()
            resource.itself = resource
            del resource
            gc.collect()
    """,
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("known", [True, False], ids=["known", "new label set"])
def test_recording_within_a_recording_does_not_deadlock(handler: str, known: bool) -> None:
    script = (
        textwrap.dedent(SET_UP)
        + textwrap.dedent(HANDLERS[handler])
        + textwrap.dedent(
            f"""
            if {known}:
                job()
            for family in FAMILIES:
                with family.lock:  # as during any recording
                    interrupt()
            print(json.dumps(values()))
            """
        )
    )
    assert run(script) == expected("a", 5.0 if known else 4.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_recording_from_a_signal_handler_during_a_scrape() -> None:
    script = textwrap.dedent(SET_UP) + textwrap.dedent(
        """
        signal.signal(signal.SIGALRM, lambda *_: job())
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        calls = 0
        for _ in range(300):
            job()
            calls += 1
            metrics.generate_metrics()
        signal.setitimer(signal.ITIMER_REAL, 0)
        found = values()
        same = {found[name + "['a']"] for name in ("jobs_total", "time_count", "size_count")}
        print(json.dumps([found["busy['a']"], len(same), same.pop() >= calls]))
        """
    )
    assert run(script) == [0.0, 1, True]


# --- forks --------------------------------------------------------------------------------------

FORK = """
def in_child(function):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(function()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as stream:
        text = stream.read()
    os.waitpid(pid, 0)
    return json.loads(text)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_forked_child_starts_from_zero_and_the_parent_goes_on() -> None:
    script = (
        textwrap.dedent(SET_UP)
        + textwrap.dedent(FORK)
        + textwrap.dedent(
            """
            metrics.info("build", "Build.", revision="12")
            for _ in range(3):
                job()

            def child():
                first = values()
                job()
                return first, values(), in_child(values)

            print(json.dumps([values(), in_child(child), values()]))
            """
        )
    )
    parent, (zero, one, grandchild), after = run(script)
    build = {"build['12']": 1.0}
    assert parent == {**expected("a", 3.0), **build}
    assert zero == {**expected("a", 0.0), **build}
    assert one == {**expected("a", 1.0), **build}
    assert grandchild == {**expected("a", 0.0), **build}
    assert after == parent


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_forked_child_has_no_buckets_sums_or_self_metrics_of_its_parent() -> None:
    script = (
        textwrap.dedent(SET_UP)
        + textwrap.dedent(FORK)
        + textwrap.dedent(
            """
            clock = [0.0]
            type(metrics).clock = staticmethod(lambda: clock[0])

            @metrics.histogram("delay", "Delay.", buckets=(1, 4), labels={"bad": lambda: 1 / 0})
            def slow():
                clock[0] += 2.0

            import logging
            logging.disable()
            slow()

            def everything():
                return {
                    s.name + s.labels.get("le", ""): s.value
                    for m in registry.collect()
                    for s in m.samples
                    if s.name.startswith(("delay", "promweb")) and not s.name.endswith("_created")
                }

            print(json.dumps([everything(), in_child(everything)]))
            """
        )
    )
    parent, child = run(script)
    assert parent == {
        "delay_bucket1.0": 0.0,
        "delay_bucket4.0": 1.0,
        "delay_bucket+Inf": 1.0,
        "delay_count": 1.0,
        "delay_sum": 2.0,
        "promweb_label_errors_total": 1.0,
    }
    assert set(child.values()) == {0.0}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_default_metrics_of_a_forked_worker_start_from_zero() -> None:
    script = textwrap.dedent(FORK) + textwrap.dedent(
        """
        import json, os
        from flask import Flask
        from prometheus_client import CollectorRegistry
        from promweb import PrometheusMetrics

        app = Flask("shop")
        registry = CollectorRegistry()
        PrometheusMetrics(app, registry=registry, in_progress=True)

        def serve(count):
            for _ in range(count):
                app.test_client().get("/")
            return {
                sample.name: sample.value
                for metric in registry.collect()
                for sample in metric.samples
                if not sample.name.endswith(("_bucket", "_created", "_sum"))
            }

        parent = serve(3)
        print(json.dumps([parent, in_child(lambda: serve(1)), serve(0)]))
        """
    )
    parent, child, after = run(script)

    def values(count: float) -> dict[str, float]:
        return {
            "flask_exporter_info": 1.0,
            "flask_http_request_duration_seconds_count": count,
            "flask_http_request_total": count,
            "flask_http_requests_in_progress": 0.0,
        }

    assert parent == values(3.0)
    assert child == values(1.0)
    assert after == parent


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_fork_while_another_thread_records_leaves_no_locked_family() -> None:
    script = (
        textwrap.dedent(SET_UP)
        + textwrap.dedent(FORK)
        + textwrap.dedent(
            """
            job()
            held, done = threading.Event(), threading.Event()

            def hold():
                for family in FAMILIES:
                    family.lock.__enter__()
                held.set()
                done.wait()
                for family in FAMILIES:
                    family.lock.__exit__(None, None, None)

            thread = threading.Thread(target=hold)
            thread.start()
            held.wait()

            def child():
                signal.alarm(20)  # a deadlock ends here
                global who
                job()
                who = "b"
                job()
                return values()

            try:
                found = in_child(child)
            finally:
                done.set()
                thread.join()
            job()
            print(json.dumps([found, values()]))
            """
        )
    )
    child, parent = run(script)
    assert child == {**expected("a", 1.0), **expected("b", 1.0)}
    assert parent == expected("a", 2.0)
