"""Only WSGI has these: `close()`, file wrappers, `with client:`, exceptions that leave."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import flask
import pytest
from flask.sessions import SecureCookieSessionInterface
from werkzeug.test import EnvironBuilder
from werkzeug.wsgi import FileWrapper

from tests.support.legs import Leg
from tests.support.recorded import Done, check, expected, in_progress, labels, samples


def call(app: Any, path: str = "/", method: str = "GET", **environ: Any) -> Any:
    """Call an application as a server does and return its body, unread."""
    builder = EnvironBuilder(path=path, method=method)
    return app({**builder.get_environ(), **environ}, lambda *start: lambda data: None)


def stream(leg: Leg, app: Any, **headers: str) -> list[str]:
    """Route `/` to an endless stream that takes 0.25 seconds a chunk; return what it notes."""
    notes: list[str] = []

    def body() -> Iterator[bytes]:
        try:
            while True:
                leg.clock.advance(0.25)
                yield b"chunk"
        finally:
            notes.append("closed")
            leg.clock.advance(0.5)

    app.add_url_rule("/", view_func=lambda: flask.Response(body(), 206, headers), endpoint="view")
    return notes


@pytest.mark.parametrize("chunks", [1, 3])
def test_client_that_goes_away_ends_the_request(leg: Leg, app: Any, chunks: int) -> None:
    notes = stream(leg, app)
    body = call(app)
    for _ in range(chunks):
        assert next(iter(body)) == b"chunk"
    assert in_progress(leg) == 1
    body.close()
    assert notes == ["closed"]
    check(leg, Done("GET", "/", 206, chunks * 0.25 + 0.5))


def test_client_that_goes_away_before_the_first_byte(leg: Leg, app: Any) -> None:
    stream(leg, app)
    body = call(app)
    leg.clock.advance(1)
    body.close()
    check(leg, Done("GET", "/", 206, 1))


def test_body_closed_twice_is_recorded_once(leg: Leg, app: Any) -> None:
    stream(leg, app)
    body = call(app)
    body.close()
    body.close()
    check(leg, Done("GET", "/", 206))


def test_body_that_a_server_forgets_to_close(leg: Leg, app: Any) -> None:
    stream(leg, app)
    body = call(app)
    next(iter(body))
    assert in_progress(leg) == 1
    del body
    gc.collect()
    assert in_progress(leg) == 0
    assert leg.value("flask_http_request_total", method="GET", status="206") == 1


def test_close_that_raises(leg: Leg, app: Any) -> None:
    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"x"])

        def close(self) -> None:
            leg.clock.advance(0.25)
            raise ZeroDivisionError

    app.add_url_rule("/", view_func=lambda: flask.Response(Body()), endpoint="view")
    body = call(app)
    with pytest.raises(ZeroDivisionError):
        body.close()
    check(leg, Done("GET", "/", 200, 0.25))


def test_body_that_raises_and_is_closed_is_recorded_once(leg: Leg, app: Any) -> None:
    def body() -> Iterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    app.add_url_rule("/", view_func=lambda: flask.Response(body(), 203), endpoint="view")
    response = call(app)
    with pytest.raises(ZeroDivisionError):
        list(response)
    leg.clock.advance(1)
    response.close()
    check(leg, Done("GET", "/", 203, failed=True))


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("HEAD", 404), ("GET", 204), ("GET", 304)]
)
@pytest.mark.parametrize("closes", [True, False])
def test_dropped_body_iterator(leg: Leg, app: Any, method: str, status: int, closes: bool) -> None:
    """Werkzeug neither runs nor closes the generator of a response without a body."""

    def body() -> Iterator[bytes]:
        leg.clock.advance(1)
        yield b"x"

    app.add_url_rule("/", view_func=lambda: flask.Response(body(), status), endpoint="view")
    response = call(app, method=method)
    assert list(response) == []
    if closes:
        response.close()
    check(leg, Done(method, "/", status))


@pytest.mark.parametrize(
    ("path", "status"), [("/abort", 403), ("/none", 404), ("/dir", 308), ("/long", 200)]
)
def test_response_with_a_length_that_the_client_never_reads(
    leg: Leg, app: Any, path: str, status: int
) -> None:
    """The test client reads one chunk and neither the rest nor closes it."""
    app.add_url_rule("/abort", view_func=lambda: flask.abort(403), endpoint="abort")
    app.add_url_rule("/dir/", view_func=lambda: "", endpoint="dir")
    response = flask.Response(iter([b"chunk"]), headers={"Content-Length": "5"})
    app.add_url_rule("/long", view_func=lambda: response, endpoint="long")
    reply = app.test_client().get(path)
    assert reply.status_code == status
    check(leg, Done("GET", path if path in ("/abort", "/long") else "<unmatched>", status))


@pytest.mark.parametrize("path", ["/", "/abort", "/stream", "/fail"])
def test_with_client_keeps_the_context_and_records_once(leg: Leg, app: Any, path: str) -> None:
    app.add_url_rule("/", view_func=lambda: "ok", endpoint="view")
    app.add_url_rule("/abort", view_func=lambda: flask.abort(403), endpoint="abort")
    app.add_url_rule("/stream", view_func=lambda: flask.Response(iter(["a"])), endpoint="stream")
    app.add_url_rule("/fail", view_func=lambda: 1 / 0, endpoint="fail")
    torn_down: list[Any] = []
    app.teardown_request(torn_down.append)
    with app.test_client() as client:
        for _ in range(2):
            status = client.get(path).status_code
            assert flask.request.path == path
    assert torn_down
    done = Done("GET", path, status, failed=path == "/fail")
    check(leg, done, done)


class GreenletExit(BaseException):
    """gevent raises this in a greenlet that is killed."""


EXITS = [SystemExit, KeyboardInterrupt, GreenletExit]


@pytest.mark.parametrize("error", EXITS)
@pytest.mark.parametrize("where", ["view", "before_request", "after_request", "error handler"])
def test_exit_is_raised_again_and_counted(leg: Leg, app: Any, error: Any, where: str) -> None:
    def leave(*args: Any) -> Any:
        leg.clock.advance(0.25)
        raise error

    if where == "before_request":
        app.before_request(leave)
    elif where == "after_request":
        app.after_request(leave)
    elif where == "error handler":
        app.register_error_handler(KeyError, leave)
    views = {"view": leave, "error handler": lambda: {}["missing"]}
    app.add_url_rule("/", view_func=views.get(where, lambda: "ok"), endpoint="view")
    with pytest.raises(error):
        leg.get(app, "/")
    check(leg, Done("GET", "/", 500, 0.25, failed=True))


@pytest.mark.parametrize("error", EXITS)
def test_exit_in_a_streamed_body(leg: Leg, app: Any, error: Any) -> None:
    def body() -> Iterator[bytes]:
        yield b"x"
        leg.clock.advance(0.25)
        raise error

    app.add_url_rule("/", view_func=lambda: flask.Response(body(), 206), endpoint="view")
    with pytest.raises(error):
        leg.get(app, "/")
    check(leg, Done("GET", "/", 206, 0.25, failed=True))


@pytest.mark.parametrize("error", EXITS)
def test_exit_resolves_labels_in_the_request_context(leg: Leg, error: Any) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, default_labels={"host": lambda: flask.request.host})

    @app.get("/")
    @metrics.counter("calls", "Calls.", {"code": lambda response: response.status_code})
    def view() -> Any:
        raise error

    with pytest.raises(error):
        leg.get(app, "/")
    done = Done("GET", "/", 500, failed=True, labels=(("host", "localhost"),))
    calls = {"calls_total": {labels(code="500", host="localhost"): 1.0}}
    assert samples(leg.registry) == {**expected(done), **calls}


@pytest.mark.parametrize("error", [*EXITS, ZeroDivisionError])
def test_exception_that_leaves_has_its_labels_before_the_teardown(leg: Leg, error: Any) -> None:
    app = leg.make_app(testing=True)
    metrics = leg.make_metrics(app)

    @app.before_request
    def begin() -> None:
        flask.g.tenant = "t1"

    @app.teardown_request
    def end(error: object) -> None:
        flask.g.pop("tenant")

    @app.get("/")
    @metrics.counter("calls", "Calls.", {"tenant": lambda: flask.g.tenant})
    def view() -> Any:
        raise error

    with pytest.raises(error):
        leg.get(app, "/")
    assert samples(leg.registry)["calls_total"] == {labels(tenant="t1"): 1.0}


@pytest.mark.parametrize(
    ("testing", "debug", "propagate", "leaves"),
    [
        (False, False, None, False),
        (True, False, None, True),
        (False, True, None, True),
        (False, False, True, True),
        (True, True, False, False),
    ],
)
def test_exception_leaves_when_flask_says_so(
    leg: Leg, app: Any, testing: bool, debug: bool, propagate: bool | None, leaves: bool
) -> None:
    app.testing, app.debug, app.config["PROPAGATE_EXCEPTIONS"] = testing, debug, propagate
    app.add_url_rule("/", view_func=lambda: 1 / 0, endpoint="view")
    if leaves:
        with pytest.raises(ZeroDivisionError):
            leg.get(app, "/")
    else:
        assert leg.get(app, "/").status == 500
    check(leg, Done("GET", "/", 500, failed=True))


def test_session_that_cannot_be_opened(leg: Leg, app: Any) -> None:
    """Flask answers 500 before any route is matched; a request all the same."""

    class Sessions(SecureCookieSessionInterface):
        def open_session(self, *args: Any) -> Any:
            raise ZeroDivisionError

    app.session_interface = Sessions()
    app.add_url_rule("/", view_func=lambda: "ok", endpoint="view")
    assert leg.get(app, "/").status == 500
    check(leg, Done("GET", "<unmatched>", 500, failed=True))


def test_session_that_cannot_be_saved(leg: Leg, app: Any) -> None:
    class Sessions(SecureCookieSessionInterface):
        def save_session(self, *args: Any) -> Any:
            raise ZeroDivisionError

    app.session_interface = Sessions()
    app.secret_key = "key"
    app.add_url_rule("/", view_func=lambda: "ok", endpoint="view")
    assert leg.get(app, "/").status == 500
    check(leg, Done("GET", "/", 500, failed=True))


def test_request_that_a_middleware_answers_has_a_group_of_its_own(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    app = leg.make_app()
    inner = app.wsgi_app

    def middleware(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/mine":
            start_response("200 OK", [])
            return [b"mine"]
        return inner(environ, start_response)

    app.wsgi_app = middleware
    leg.make_metrics(app, in_progress=True)
    app.add_url_rule("/", view_func=lambda: "ok", endpoint="view")
    assert leg.get(app, "/mine").text == "mine"
    assert leg.get(app, "/").text == "ok"
    assert caplog.records == []
    check(leg, Done("GET", "/", 200), Done("GET", "<middleware>", 200))


def test_middleware_whose_functions_are_measured(leg: Leg) -> None:
    """It knows no path that could be excluded."""
    app = leg.make_app()
    metrics = leg.make_metrics(None, excluded_paths="/")
    inner = app.wsgi_app
    job = metrics.counter("jobs", "Jobs.")(lambda: None)
    rows = metrics.counter("rows", "Rows.")(lambda: (yield))
    app.wsgi_app = lambda *args: (job(), list(rows()), inner(*args))[-1]
    metrics.init_app(app)
    leg.get(app, "/")
    found = samples(leg.registry)
    assert found["jobs_total"] == found["rows_total"] == {labels(): 1.0}


def test_middleware_installed_before_raises(leg: Leg) -> None:
    """The exception leaves the measured part after the response, so its status stands."""
    app = leg.make_app()
    inner = app.wsgi_app

    def middleware(environ: Any, start_response: Any) -> Any:
        inner(environ, start_response)
        raise ZeroDivisionError

    app.wsgi_app = middleware
    leg.make_metrics(app, in_progress=True)
    app.add_url_rule("/", view_func=lambda: "ok", endpoint="view")
    with pytest.raises(ZeroDivisionError):
        leg.get(app, "/")
    check(leg, Done("GET", "/", 500, failed=True))


class ServerFile(FileWrapper):
    """A file wrapper of a server that sends the file itself, with sendfile()."""


@pytest.mark.parametrize("closes", [True, False])
def test_file_wrapper_reaches_the_server_as_it_is(leg: Leg, tmp_path: Any, closes: bool) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)
    app.add_url_rule("/", view_func=lambda: flask.send_file(tmp_path / "file"), endpoint="view")
    body = call(app, **{"wsgi.file_wrapper": ServerFile})
    assert type(body) is ServerFile
    leg.clock.advance(0.25)
    if not closes:
        assert body.file.read() == b"12345"
    body.close()
    assert body.file.closed
    check(leg, Done("GET", "/", 200, 0.25))


def test_file_wrapper_that_takes_no_attributes(
    leg: Leg, app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A server may have one of that kind; that is not worth a log line."""

    class Slotted:
        __slots__ = ("file",)

        def __init__(self, file: Any, size: int) -> None:
            self.file = file

        def __iter__(self) -> Iterator[bytes]:
            return iter(self.file)

        def close(self) -> None:
            self.file.close()

    view = lambda: flask.send_file(io.BytesIO(b"12345"), "text/plain")  # noqa: E731
    app.add_url_rule("/", view_func=view, endpoint="view")
    body = call(app, **{"wsgi.file_wrapper": Slotted})
    assert type(body) is Slotted
    body.close()
    check(leg, Done("GET", "/", 200))
    assert caplog.messages == []


def test_file_wrapper_that_is_a_function(leg: Leg, app: Any) -> None:
    """PEP 3333 says only that it is callable."""
    view = lambda: flask.send_file(io.BytesIO(b"12345"), "text/plain")  # noqa: E731
    app.add_url_rule("/", view_func=view, endpoint="view")
    body = call(app, **{"wsgi.file_wrapper": lambda file, size: FileWrapper(file, size)})
    assert b"".join(body) == b"12345"
    body.close()
    check(leg, Done("GET", "/", 200))


def test_file_wrapper_counts_the_bytes_of_the_file(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, response_size=True)
    view = lambda: flask.send_file(io.BytesIO(b"12345"), "text/plain")  # noqa: E731
    app.add_url_rule("/", view_func=view, endpoint="view")
    body = call(app, **{"wsgi.file_wrapper": ServerFile})
    body.file.read()
    body.close()
    size = samples(leg.registry)["flask_http_response_size_bytes_sum"]
    assert size == {labels(method="GET", path="/", status="200"): 5.0}


@pytest.mark.parametrize("status", [204, 304])
def test_body_that_is_not_sent_has_no_size(leg: Leg, status: int) -> None:
    app = leg.make_app()
    leg.make_metrics(app, response_size=True)
    app.add_url_rule("/", view_func=lambda: ("dropped", status), endpoint="view")
    assert leg.get(app, "/").data == b""
    size = samples(leg.registry)["flask_http_response_size_bytes_sum"]
    assert size == {labels(method="GET", path="/", status=str(status)): 0.0}


def test_write_callable_and_arguments_of_start_response_pass_through(leg: Leg, app: Any) -> None:
    app.add_url_rule("/", view_func=lambda: ("ok", {"X-Mine": "1"}), endpoint="view")
    started: list[Any] = []
    environ = EnvironBuilder(path="/").get_environ()
    assert list(app(environ, lambda *args: started.append(args))) == [b"ok"]
    assert [(status, dict(headers)["X-Mine"]) for status, headers, *_ in started] == [
        ("200 OK", "1")
    ]


def test_request_within_a_request_is_recorded_too(leg: Leg, app: Any) -> None:
    def outer() -> str:
        leg.clock.advance(0.25)
        app.test_client().get("/inner")
        leg.clock.advance(0.5)
        return "ok"

    def inner() -> Any:
        leg.clock.advance(1)
        return "ok", 201

    app.add_url_rule("/outer", view_func=outer)
    app.add_url_rule("/inner", view_func=inner)
    leg.get(app, "/outer")
    check(leg, Done("GET", "/inner", 201, 1), Done("GET", "/outer", 200, 1.75))


@pytest.mark.parametrize("same_app", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_request_context_made_by_hand_within_a_request_is_not_recorded(
    leg: Leg, app: Any, same_app: bool, fails: bool
) -> None:
    """A batch endpoint dispatches its parts itself."""
    other = app if same_app else leg.make_app()
    leg.make_metrics(other, in_progress=True)

    def batch() -> Any:
        with other.test_request_context("/part"):
            if fails:
                other.handle_exception(ZeroDivisionError())
            else:
                other.full_dispatch_request()
        return "", 207

    app.add_url_rule("/batch", view_func=batch)
    other.add_url_rule("/part", view_func=lambda: ("", 418), endpoint="part")
    assert leg.get(app, "/batch").status == 207
    check(leg, Done("GET", "/batch", 207))


def test_excluded_request_leaves_what_comes_after_alone(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    job = metrics.counter("jobs", "Jobs.")(lambda: None)

    def outer() -> str:
        app.test_client().get("/inner")
        job()
        return "ok"

    inner = metrics.exclude_all_metrics()(lambda: job() or "ok")
    app.add_url_rule("/inner", view_func=inner, endpoint="inner")
    app.add_url_rule("/outer", view_func=outer)
    leg.get(app, "/outer")
    leg.get(app, "/inner")
    job()
    found = {"jobs_total": {labels(): 2.0}}
    assert samples(leg.registry) == {**expected(Done("GET", "/outer", 200)), **found}


def test_request_context_made_by_hand_is_not_recorded(leg: Leg, app: Any) -> None:
    app.add_url_rule("/", view_func=lambda: "ok", endpoint="view")
    app.add_url_rule("/fail", view_func=lambda: 1 / 0, endpoint="fail")
    with app.test_request_context("/"):
        assert app.full_dispatch_request().status_code == 200
    with app.test_request_context("/fail"):
        assert app.handle_exception(ZeroDivisionError()).status_code == 500
    check(leg)


@pytest.mark.parametrize("how", ["variable", "proxy", "argument"])
def test_request_context_is_found_however_flask_keeps_it(
    leg: Leg, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = leg.make_app()
    dispatch = app.full_dispatch_request
    app.full_dispatch_request = lambda *args: dispatch()
    if how == "proxy":
        monkeypatch.delattr("flask.globals._cv_request")
    elif how == "argument":
        monkeypatch.setattr("flask.globals._cv_request", SimpleNamespace(get=lambda: None))
    leg.make_metrics(app, in_progress=True)
    wrapped = app.full_dispatch_request
    if how == "argument":
        get_request = flask.request._get_current_object  # type: ignore[attr-defined]
        app.full_dispatch_request = lambda: wrapped(SimpleNamespace(request=get_request()))
    app.add_url_rule("/item", view_func=lambda: "ok", endpoint="view")
    leg.get(app, "/item")
    check(leg, Done("GET", "/item", 200))


def test_chunked_request_body_is_counted_where_the_session_reads_it(leg: Leg) -> None:
    """That is before the application's dispatch."""

    class Sessions(SecureCookieSessionInterface):
        def open_session(self, app: Any, request: Any) -> Any:
            request.get_data()
            return super().open_session(app, request)

    app = leg.make_app()
    app.session_interface = Sessions()
    leg.make_metrics(app, request_size=True)
    app.add_url_rule("/", view_func=lambda: "ok", endpoint="view", methods=["POST"])
    body = {"wsgi.input": io.BytesIO(b"12345"), "wsgi.input_terminated": True}
    assert [*call(app, method="POST", **body)] == [b"ok"]
    where = {"method": "POST", "path": "/", "status": "200"}
    assert leg.value("flask_http_request_size_bytes_sum", **where) == 5


@pytest.mark.parametrize("limit", [None, 100])
def test_chunked_request_body_is_counted_as_it_is_read(leg: Leg, limit: int | None) -> None:
    app = leg.make_app()
    app.config["MAX_CONTENT_LENGTH"] = limit
    leg.make_metrics(app, request_size=True)
    view = lambda: str(len(flask.request.get_data()))  # noqa: E731
    app.add_url_rule("/", view_func=view, endpoint="view", methods=["POST"])
    environ = EnvironBuilder(path="/", method="POST").get_environ()
    environ |= {"wsgi.input": io.BytesIO(b"12345"), "wsgi.input_terminated": True}
    environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    assert list(app(environ, lambda *args: None)) == [b"5"]
    size = samples(leg.registry)["flask_http_request_size_bytes_sum"]
    assert size == {labels(method="POST", path="/", status="200"): 5.0}


@pytest.mark.parametrize(
    "read",
    [
        lambda body: body.read(),
        lambda body: body.read(3) + body.read(),
        lambda body: b"".join(body),
        lambda body: b"".join(body.readlines()),
        lambda body: body.readline() + body.readline(3) + body.readline(),
        lambda body: _readinto(body) if hasattr(body, "readinto") else body.read(),
        lambda body: body.read1() if hasattr(body, "read1") else body.read(),
    ],
    ids=["read", "sizes", "iter", "readlines", "readline", "readinto", "read1"],
)
def test_chunked_request_body_is_counted_however_it_is_read(leg: Leg, read: Any) -> None:
    app = leg.make_app()
    leg.make_metrics(app, request_size=True)
    view = lambda: read(flask.request.environ["wsgi.input"])  # noqa: E731
    app.add_url_rule("/", view_func=view, endpoint="view", methods=["POST"])
    environ = EnvironBuilder(path="/", method="POST").get_environ()
    environ |= {"wsgi.input": io.BytesIO(b"12\n345"), "wsgi.input_terminated": True}
    assert list(app(environ, lambda *args: None)) == [b"12\n345"]
    size = samples(leg.registry)["flask_http_request_size_bytes_sum"]
    assert size == {labels(method="POST", path="/", status="200"): 6.0}


def _readinto(body: Any) -> bytes:
    buffer = bytearray(6)
    assert body.readinto(buffer) == 6
    return bytes(buffer)


def answer_otherwise(environ: Any, start_response: Any) -> list[bytes]:
    start_response("203 Elsewhere", [("X-By", "another application")])
    return [b"other"]


def answer_oddly(environ: Any, start_response: Any) -> list[bytes]:
    start_response("fine", [])
    return [b"odd"]


@pytest.mark.parametrize("path", ["/", "/broken"])
@pytest.mark.parametrize(
    "answer",
    [answer_otherwise, answer_oddly, lambda *args: [], None],
    ids=["answers", "oddly", "not at all", "no application"],
)
def test_after_request_function_that_returns_no_response(leg: Leg, path: str, answer: Any) -> None:
    """Flask passes WSGI applications on; anything else fails as it does without promweb."""

    def serve(app: Any) -> list[Any]:
        app.logger.disabled = True
        app.add_url_rule("/", "view", lambda: "ok")
        app.add_url_rule("/broken", "broken", lambda: 1 // 0)
        app.after_request(lambda response: answer)
        seen: list[Any] = []
        environ = EnvironBuilder(path=path).get_environ()
        try:
            seen.append(list(app(environ, lambda *start: seen.append(start))))
        except Exception as error:
            seen.append(repr(error))
        return seen

    app = leg.make_app()
    leg.make_metrics(app, default_labels={"who": lambda response: response.status_code})
    assert serve(app) == serve(leg.make_app())
    status = 203 if answer is answer_otherwise else 500
    failed = path == "/broken" or answer is None
    done = Done("GET", path, status, 0.0, failed, (("who", str(status)),))
    assert samples(leg.registry) == expected(done)


class Odd:
    """A body that cannot be iterated over."""

    def __repr__(self) -> str:
        return "Odd()"

    def __iter__(self) -> Iterator[bytes]:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "body", [[b"a", bytearray(b"bc")], ["a", "\ud800"], [b"a", 1], [None], Odd()], ids=repr
)
@pytest.mark.parametrize("sizes", [False, True])
def test_body_of_odd_parts(leg: Leg, body: Any, sizes: bool) -> None:
    """The server gets it unchanged, and fails as it would without promweb."""

    def serve(app: Any) -> list[Any]:
        app.logger.disabled = True
        headers = {"Content-Length": "3"}  # or Werkzeug would look at the parts
        app.add_url_rule("/", "view", lambda: flask.Response(body, headers=headers))
        seen: list[Any] = []
        environ = EnvironBuilder().get_environ()
        iterable = app(environ, lambda *start: seen.append(start))
        try:
            seen.append(b"".join(iterable))
        except Exception as error:
            seen.append(repr(error))
        iterable.close()
        return seen

    app = leg.make_app()
    leg.make_metrics(app, response_size=sizes)
    assert serve(app) == serve(leg.make_app())
    assert leg.value("flask_http_request_total", method="GET", status="200") == 1.0
    if sizes and body == [b"a", bytearray(b"bc")]:
        assert sum(samples(leg.registry)["flask_http_response_size_bytes_sum"].values()) == 3.0


def test_stream_whose_response_cannot_be_asked(leg: Leg, app: Any) -> None:
    class Response(flask.Response):
        @property
        def content_length(self) -> int:  # type: ignore[override]
            raise ZeroDivisionError

    app.add_url_rule("/", "view", lambda: Response(iter([b"one", b"two"])))
    body = app(EnvironBuilder().get_environ(), lambda *start: None)
    assert b"".join(body) == b"onetwo"
    body.close()
    check(leg, Done("GET", "/", 200))
