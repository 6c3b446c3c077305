"""Recording from where programs do not expect their code to run: each in a process of its own."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import Any

import pytest

from tests.support import running
from tests.support.needs import module, posix

SET_UP = """
import atexit, faulthandler, gc, json, os, signal, sys, threading
faulthandler.dump_traceback_later(60, exit=True)
from flask import Flask
from prometheus_client import CollectorRegistry
from werkzeug.test import EnvironBuilder
from promweb import PrometheusMetrics

app = Flask("shop")
registry = CollectorRegistry()
metrics = PrometheusMetrics(app, registry=registry, in_progress=True)
ENVIRON = EnvironBuilder(path="/").get_environ()

@metrics.gauge("working", "Jobs.", {"kind": lambda: "k"})
@metrics.histogram("time", "Jobs.", {"kind": lambda: "k"}, buckets=(1, 2))
@metrics.counter("jobs", "Jobs.", {"kind": lambda: "k"})
def job():
    pass

@app.get("/")
@metrics.counter("views", "Views.")
def view():
    return "ok"

def serve():
    assert b"".join(app({**ENVIRON}, lambda *start: None)) == b"ok"

def value(name, **labels):
    return registry.get_sample_value(name, labels) or 0.0

def found():
    return {
        "requests": value("flask_http_request_total", method="GET", status="200"),
        "in progress": value("flask_http_requests_in_progress", method="GET"),
        "views": value("views_total"),
        "jobs": value("jobs_total", kind="k"),
        "times": value("time_count", kind="k"),
        "working": value("working", kind="k"),
    }

def expected(requests, jobs):
    return dict(zip(found(), (requests, 0, requests, jobs, jobs, 0)))

def check(requests, jobs):
    assert found() == expected(requests, jobs), (found(), expected(requests, jobs))
"""


def run(script: str) -> list[Any]:
    """Run a program; return the lines that it printed."""
    code = textwrap.dedent(SET_UP) + textwrap.dedent(script)
    # Without coverage, which has locks of its own that a fork may leave taken.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    done = running.run(command, env=running.without("COVERAGE"))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@posix
def test_signal_handler_that_serves_and_records() -> None:
    """In the middle of requests, recordings and scrapes."""
    assert run(
        """
        handled = 0

        def handle(*args):
            global handled
            handled += 1
            serve()
            job()

        handle()  # what is imported late is imported now
        handled = 0
        signal.signal(signal.SIGVTALRM, handle)  # time of this process, on a busy machine too
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0003, 0.0003)
        served = 0
        while handled < 400:
            serve()
            job()
            served += 1
            if served % 50 == 0:
                metrics.generate_metrics()
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        check(1 + served + handled, 1 + served + handled)
        print(json.dumps("exact"))
        """
    ) == ["exact"]


def test_destructors_that_record_whenever_garbage_is_collected() -> None:
    assert run(
        """
        died = 0

        class Resource:
            def __init__(self):
                self.itself = self

            def __del__(self):
                global died
                died += 1
                job()
                if died % 10 == 0:
                    serve()

        gc.set_threshold(3, 2, 2)
        for number in range(1000):
            Resource()
            serve()
            job()
        gc.set_threshold(0)
        gc.collect()
        assert died == 1000
        check(1100, 2000)
        print(json.dumps("exact"))
        """
    ) == ["exact"]


def test_label_set_that_is_made_while_it_is_made() -> None:
    """A signal handler or a destructor records the very label set that is being made."""
    assert run(
        """
        from promweb.core.families.children import NumberChild
        from promweb.core.families.kinds import CounterFamily

        class Child(NumberChild):
            is_nested = False

            def __init__(self, owner):
                super().__init__(owner)
                if not Child.is_nested:
                    Child.is_nested = True
                    owner.child(("a",)).inc()

        class Family(CounterFamily):
            child_class = Child

        family = Family("calls", "Calls.", ("who",))
        family.child(("a",)).inc()
        print(json.dumps(family.child(("a",)).value))
        """
    ) == [2.0]


def test_recording_at_exit() -> None:
    assert run(
        """
        import logging

        def last():
            serve()
            job()
            check(2, 2)
            print(json.dumps("exact"))

        atexit.register(last)
        atexit.register(logging.shutdown)
        serve()
        job()
        """
    ) == ["exact"]


@posix
def test_forks_while_other_threads_serve() -> None:
    """Each child counts its own, and the parent goes on."""
    assert run(
        """
        stop = threading.Event()
        served = [0, 0, 0]

        def work(index):
            while not stop.is_set():
                serve()
                job()
                served[index] += 1

        serve()  # the first request takes a lock of Werkzeug's, which no child could let go of
        job()
        threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
        for thread in threads:
            thread.start()
        failed = 0
        for _ in range(30):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    signal.alarm(20)  # a deadlock ends here
                    for _ in range(5):
                        serve()
                        job()
                    metrics.generate_metrics()
                    check(5, 5)
                    code = 0
                finally:
                    os._exit(code)
            failed += os.waitpid(pid, 0)[1] != 0
        stop.set()
        for thread in threads:
            thread.join()
        assert not failed, failed
        check(sum(served) + 1, sum(served) + 1)
        print(json.dumps("exact"))
        """
    ) == ["exact"]


@posix
def test_fork_while_another_thread_attaches() -> None:
    """A child has no such thread, and attaches and defines all the same."""
    assert run(
        """
        from promweb.core import forking

        held, forked = threading.Event(), threading.Event()

        def hold():
            with forking.definitions:
                held.set()
                forked.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                assert forking.definitions.acquire(blocking=False)
                PrometheusMetrics(Flask("other"), registry=CollectorRegistry())
                code = 0
            finally:
                os._exit(code)
        code = os.waitpid(pid, 0)[1]
        forked.set()
        thread.join()
        print(json.dumps(code))
        """
    ) == [0]


def test_greenlets_and_threads() -> None:
    module("gevent")
    assert run(
        """
        import gevent

        def in_thread():
            for _ in range(200):
                serve()
                job()

        def in_greenlet():
            for _ in range(50):
                serve()
                job()
                gevent.sleep(0)

        sys.setswitchinterval(5e-6)
        pool = gevent.get_hub().threadpool
        threads = [pool.spawn(in_thread) for _ in range(4)]
        gevent.joinall([gevent.spawn(in_greenlet) for _ in range(20)], raise_error=True)
        for thread in threads:
            thread.get()
        check(4 * 200 + 20 * 50, 4 * 200 + 20 * 50)
        print(json.dumps("exact"))
        """
    ) == ["exact"]


GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent
"""


@pytest.mark.parametrize("patched", [True, False], ids=["patched", "plain"])
def test_greenlets(patched: bool) -> None:
    """Requests of a thousand greenlets; some are killed, some time out, in views and in labels."""
    module("gevent")
    first = GEVENT if patched else "import gevent\n"
    script = """
        from gevent import Timeout

        class Late:
            def __init__(self, number):
                self.number = number

        @app.get("/wait/<int:number>")
        @metrics.gauge("waiting", "Views.")
        @metrics.counter("waits", "Views.", {"late": lambda: gevent.sleep(0) or "late"})
        def wait(number):
            gevent.sleep(0 if number % 3 else 60)
            return "ok"

        def call(number):
            environ = EnvironBuilder(path=f"/wait/{number}").get_environ()
            if number % 3 == 0 and number % 2:
                with Timeout(0.01, False):
                    b"".join(app(environ, lambda *start: None))
            else:
                b"".join(app(environ, lambda *start: None))

        greenlets = [gevent.spawn(call, number) for number in range(1000)]
        gevent.sleep(0)
        hanging = [g for number, g in enumerate(greenlets) if number % 6 == 0]
        metrics.generate_metrics()
        gevent.joinall([g for g in greenlets if g not in hanging])
        assert value("flask_http_requests_in_progress", method="GET") == len(hanging)
        assert value("waiting") == len(hanging)
        gevent.killall(hanging)
        ok = sum(
            s.value for m in registry.collect() for s in m.samples
            if s.name == "flask_http_request_total" and s.labels["status"] == "200"
        )
        bad = value("flask_http_request_total", method="GET", status="500")
        print(json.dumps([
            ok, bad,
            value("flask_http_request_exceptions_total", method="GET", status="500"),
            value("waits_total", late="late"),
            value("flask_http_requests_in_progress", method="GET"),
            value("waiting"),
        ]))
        """
    code = first + textwrap.dedent(SET_UP) + textwrap.dedent(script)
    done = running.python(code, check=True)
    hung = len(range(0, 1000, 3))
    assert json.loads(done.stdout) == [1000.0 - hung, hung, hung, 1000.0, 0.0, 0.0]
