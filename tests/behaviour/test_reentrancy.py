"""Recording while recording: signal handlers, `__del__`, scrapes, and forked children."""

from __future__ import annotations

import textwrap

import pytest

from tests.support.needs import posix
from tests.support.running import answer

# --- recording while recording ------------------------------------------------------------------

SET_UP = """
import gc, json, os, signal, threading
from prometheus_client import CollectorRegistry
from promweb import PrometheusMetrics
from tests.support.registries import collector

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

FAMILIES = [collector(registry, name) for name in ("jobs", "busy", "time", "size")]

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


@posix
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
    assert answer(script) == expected("a", 5.0 if known else 4.0)


@posix
def test_recording_from_a_signal_handler_during_a_scrape() -> None:
    script = textwrap.dedent(SET_UP) + textwrap.dedent(
        """
        def handle(*_):
            job()
            signal.setitimer(signal.ITIMER_REAL, 0.0005)  # so that a slow machine gets on, too

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        calls = 0
        for _ in range(300):
            job()
            calls += 1
            metrics.generate_metrics()
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        found = values()
        same = {found[name + "['a']"] for name in ("jobs_total", "time_count", "size_count")}
        print(json.dumps([found["busy['a']"], len(same), same.pop() >= calls]))
        """
    )
    assert answer(script) == [0.0, 1, True]


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


@posix
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
    parent, (zero, one, grandchild), after = answer(script)
    build = {"build['12']": 1.0}
    assert parent == {**expected("a", 3.0), **build}
    assert zero == {**expected("a", 0.0), **build}
    assert one == {**expected("a", 1.0), **build}
    assert grandchild == {**expected("a", 0.0), **build}
    assert after == parent


@posix
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
    parent, child = answer(script)
    assert parent == {
        "delay_bucket1.0": 0.0,
        "delay_bucket4.0": 1.0,
        "delay_bucket+Inf": 1.0,
        "delay_count": 1.0,
        "delay_sum": 2.0,
        "promweb_label_errors_total": 1.0,
    }
    assert set(child.values()) == {0.0}


@posix
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
    parent, child, after = answer(script)

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


@posix
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
                signal.alarm(120)  # a deadlock ends here
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
    child, parent = answer(script)
    assert child == {**expected("a", 1.0), **expected("b", 1.0)}
    assert parent == expected("a", 2.0)
