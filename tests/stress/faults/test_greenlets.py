"""Recording from greenlets: each test in a process of its own."""

from __future__ import annotations

import json
import textwrap

import pytest

from tests.support import running
from tests.support.needs import module

from .places import SET_UP, run


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
