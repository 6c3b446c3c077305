"""Recording from unexpected places, such as signal handlers: each in a process of its own."""

from __future__ import annotations

from tests.support.needs import posix

from .places import run


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
                    signal.alarm(120)  # a deadlock ends here
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
