"""Every way in which a request can end, and its record."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from tests.support.legs import Leg
from tests.support.recorded import Done, check, expected, samples
from tests.support.views import VIEW


def work(leg: Leg) -> None:
    """Do what every view of this file does first."""
    assert leg.value("flask_http_requests_in_progress", method="GET") == 1
    leg.clock.advance(VIEW)


def route(leg: Leg, app: Any, answer: Any) -> None:
    """Route `/` to a view that works and then answers with what `answer()` returns."""

    def view() -> Any:
        work(leg)
        return answer()

    app.add_url_rule("/", view_func=leg.view(view))


def fail() -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (lambda web: "ok", 200),
        (lambda web: {"ok": True}, 200),
        (lambda web: ("made", 201, {"X-Made": "1"}), 201),
        (lambda web: web.Response("tea", 418), 418),
        (lambda web: web.redirect("/elsewhere"), 302),
        (lambda web: ("", 500), 500),
        (lambda web: web.abort(403), 403),
        (lambda web: web.abort(500), 500),
        (lambda web: web.abort(web.Response("pay", 402)), 402),
    ],
    ids=["str", "dict", "tuple", "response", "redirect", "500", "abort", "abort500", "abort402"],
)
def test_answer_of_a_view_has_its_status(leg: Leg, app: Any, answer: Any, status: int) -> None:
    route(leg, app, lambda: answer(leg.web))
    assert leg.get(app, "/").status == status
    check(leg, Done("GET", "/", status, VIEW))


def test_requests_add_up(leg: Leg, app: Any) -> None:
    route(leg, app, lambda: "ok")
    app.add_url_rule("/other", "other", leg.view(lambda: ("", 202)), methods=["POST"])
    for _ in range(3):
        leg.get(app, "/")
    leg.request(app, "/other", "POST")
    done = Done("GET", "/", 200, VIEW)
    check(leg, done, done, done, Done("POST", "/other", 202))


@pytest.mark.parametrize("handled", [ZeroDivisionError, ArithmeticError, Exception])
def test_error_handler_answers_an_exception(leg: Leg, app: Any, handled: Any) -> None:
    route(leg, app, fail)
    app.register_error_handler(handled, lambda error: ("handled", 409))
    assert leg.get(app, "/").text == "handled"
    check(leg, Done("GET", "/", 409, VIEW))


def test_error_handler_answers_an_abort(leg: Leg, app: Any) -> None:
    route(leg, app, lambda: leg.web.abort(403))
    app.register_error_handler(403, lambda error: ("hidden", 404))
    assert leg.get(app, "/").text == "hidden"
    check(leg, Done("GET", "/", 404, VIEW))


def test_error_handler_aborts_with_another_status(leg: Leg, app: Any) -> None:
    """An exception in an error handler is unhandled, whatever its type."""
    route(leg, app, fail)
    app.register_error_handler(ZeroDivisionError, lambda error: leg.web.abort(503))
    assert leg.get(app, "/").status == 500
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


def test_unhandled_exception_with_the_default_page(leg: Leg, app: Any) -> None:
    route(leg, app, fail)
    assert leg.get(app, "/").status == 500
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


@pytest.mark.parametrize("status", [500, 503])
def test_unhandled_exception_with_a_custom_page(leg: Leg, app: Any, status: int) -> None:
    route(leg, app, fail)
    app.register_error_handler(500, lambda error: ("sorry", status))
    assert leg.get(app, "/").text == "sorry"
    check(leg, Done("GET", "/", status, VIEW, failed=True))


def test_custom_page_that_raises(leg: Leg, app: Any) -> None:
    route(leg, app, fail)

    def page(error: Exception) -> Any:
        raise KeyError

    app.register_error_handler(500, page)
    with suppress(KeyError):
        leg.get(app, "/")
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


@pytest.mark.parametrize("propagate", [True, False, None])
@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("testing", [True, False])
def test_exception_counts_once_in_every_mode(
    leg: Leg, app: Any, testing: bool, debug: bool, propagate: bool | None
) -> None:
    app.testing, app.debug, app.config["PROPAGATE_EXCEPTIONS"] = testing, debug, propagate
    route(leg, app, fail)
    with suppress(ZeroDivisionError):
        assert leg.get(app, "/").status == 500
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


@pytest.mark.parametrize("testing", [True, False])
def test_answered_requests_are_the_same_in_tests(leg: Leg, app: Any, testing: bool) -> None:
    app.testing = testing
    route(leg, app, lambda: leg.web.abort(403))
    assert leg.get(app, "/").status == 403
    assert leg.get(app, "/none").status == 404
    check(leg, Done("GET", "/", 403, VIEW), Done("GET", "<unmatched>", 404))


def test_trapped_http_exception_is_unhandled(leg: Leg, app: Any) -> None:
    app.config["TRAP_HTTP_EXCEPTIONS"] = True
    route(leg, app, lambda: leg.web.abort(403))
    assert leg.get(app, "/").status == 500
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


@pytest.mark.parametrize("metrics_first", [True, False])
def test_before_request_of_someone_else_answers(leg: Leg, metrics_first: bool) -> None:
    app = leg.make_app()
    if metrics_first:
        leg.make_metrics(app, in_progress=True)

    @app.before_request
    def answer() -> Any:
        work(leg)
        return "no", 401

    if not metrics_first:
        leg.make_metrics(app, in_progress=True)
    route(leg, app, fail)
    assert leg.get(app, "/").status == 401
    check(leg, Done("GET", "/", 401, VIEW))


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyError])
def test_before_request_of_someone_else_raises(leg: Leg, app: Any, error: Any) -> None:
    @app.before_request
    def deny() -> Any:
        work(leg)
        raise error

    app.register_error_handler(KeyError, lambda error: ("handled", 409))
    app.add_url_rule("/", "view", leg.view(lambda: "never"))
    failed = error is ZeroDivisionError
    status = 500 if failed else 409
    assert leg.get(app, "/").status == status
    check(leg, Done("GET", "/", status, VIEW, failed))


@pytest.mark.parametrize("metrics_first", [True, False])
def test_after_request_of_someone_else_changes_the_status(leg: Leg, metrics_first: bool) -> None:
    app = leg.make_app()
    if metrics_first:
        leg.make_metrics(app, in_progress=True)

    @app.after_request
    def change(response: Any) -> Any:
        response.status_code = 503
        leg.clock.advance(0.5)
        return response

    if not metrics_first:
        leg.make_metrics(app, in_progress=True)
    route(leg, app, lambda: "ok")
    assert leg.get(app, "/").status == 503
    check(leg, Done("GET", "/", 503, VIEW + 0.5))


@pytest.mark.parametrize("path", ["/", "/none"])
def test_after_request_of_someone_else_replaces_the_response(leg: Leg, app: Any, path: str) -> None:
    app.after_request(lambda response: leg.web.Response("late", 202))
    route(leg, app, lambda: "ok")
    assert leg.get(app, path).text == "late"
    done = Done("GET", "/", 202, VIEW) if path == "/" else Done("GET", "<unmatched>", 202)
    check(leg, done)


@pytest.mark.parametrize("testing", [True, False])
def test_after_request_of_someone_else_raises(leg: Leg, app: Any, testing: bool) -> None:
    app.testing = testing
    app.after_request(lambda response: fail())
    route(leg, app, lambda: "ok")
    with suppress(ZeroDivisionError):
        assert leg.get(app, "/").status == 500
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


def test_after_request_of_someone_else_aborts(leg: Leg, app: Any) -> None:
    """Both frameworks treat it as unhandled, because no error handler runs then."""
    app.after_request(lambda response: leg.web.abort(403))
    route(leg, app, lambda: "ok")
    assert leg.get(app, "/").status == 500
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


@pytest.mark.parametrize("testing", [True, False])
def test_teardown_that_raises(leg: Leg, app: Any, testing: bool) -> None:
    """The exception leaves the application before anything was sent: the client gets a 500."""
    app.testing = testing
    app.teardown_request(lambda error: fail())
    route(leg, app, lambda: "ok")
    with suppress(ZeroDivisionError):
        assert leg.get(app, "/").status == 500
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


@pytest.mark.parametrize("testing", [True, False])
@pytest.mark.parametrize("status", [500, 503])
def test_teardown_that_raises_after_a_view_that_answered_an_error(
    leg: Leg, app: Any, status: int, testing: bool
) -> None:
    """The view's own answer does not count as an exception; the teardown's does."""
    app.testing = testing
    app.teardown_request(lambda error: fail())
    route(leg, app, lambda: ("no", status))
    with suppress(ZeroDivisionError):
        assert leg.get(app, "/").status == 500
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


def test_teardown_of_someone_else_runs_once(leg: Leg, app: Any) -> None:
    calls = []
    app.teardown_request(calls.append)
    route(leg, app, fail)
    assert leg.get(app, "/").status == 500
    assert len(calls) == 1
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


@pytest.mark.parametrize("announced", [True, False])
def test_streamed_body_ends_at_its_last_byte(leg: Leg, app: Any, announced: bool) -> None:
    def body() -> Any:
        for chunk in (b"one", b"two"):
            work(leg)
            yield chunk

    headers = {"Content-Length": "6"} if announced else {}
    route(leg, app, lambda: leg.web.Response(body(), headers=headers))
    assert leg.get(app, "/").data == b"onetwo"
    check(leg, Done("GET", "/", 200, 3 * VIEW))


def test_streamed_body_ends_when_its_generator_does(leg: Leg, app: Any) -> None:
    def body() -> Any:
        yield b"one"
        leg.clock.advance(0.5)

    route(leg, app, lambda: leg.web.Response(body()))
    assert leg.get(app, "/").data == b"one"
    check(leg, Done("GET", "/", 200, VIEW + 0.5))


def test_empty_streamed_body(leg: Leg, app: Any) -> None:
    route(leg, app, lambda: leg.web.Response(iter(()), 202))
    assert leg.get(app, "/").data == b""
    check(leg, Done("GET", "/", 202, VIEW))


@pytest.mark.parametrize("sent", [0, 1, 2])
@pytest.mark.parametrize("testing", [True, False])
def test_streamed_body_that_raises_has_the_status_sent(
    leg: Leg, app: Any, testing: bool, sent: int
) -> None:
    app.testing = testing

    def body() -> Any:
        for _ in range(sent):
            yield b"x"
        leg.clock.advance(0.5)
        raise ZeroDivisionError

    route(leg, app, lambda: leg.web.Response(body(), 206))
    with suppress(ZeroDivisionError):
        leg.get(app, "/")
    check(leg, Done("GET", "/", 206, VIEW + 0.5, failed=True))


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)], ids=["HEAD", "204", "304"]
)
@pytest.mark.parametrize("announced", [True, False])
def test_streamed_view_whose_body_is_dropped(
    leg: Leg, app: Any, method: str, status: int, announced: bool
) -> None:
    def view() -> Any:
        leg.clock.advance(VIEW)
        headers = {"Content-Length": "3"} if announced else {}
        return leg.web.Response(iter([b"one"]), status, headers)

    app.add_url_rule("/", view_func=leg.view(view))
    assert leg.request(app, "/", method).status == status
    check(leg, Done(method, "/", status, VIEW))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/none", 404),
        ("POST", "/dir/", 405),
        ("GET", "/dir", 308),
        ("GET", "/static/x", 404),
    ],
    ids=["404", "405", "slash", "static"],
)
@pytest.mark.parametrize("with_static", [True, False])
def test_unmatched_requests_share_one_group(
    leg: Leg, tmp_path: Any, with_static: bool, method: str, path: str, status: int
) -> None:
    """A missing file has matched the static route."""
    app = leg.make_app(static_folder=tmp_path if with_static else None, static_url_path="/static")
    leg.make_metrics(app, in_progress=True)
    app.add_url_rule("/dir/", view_func=leg.view(lambda: "ok"), endpoint="dir")
    assert leg.request(app, path, method).status == status
    group = path if with_static and path.startswith("/static") else "<unmatched>"
    check(leg, Done(method, group, status))


def test_unmatched_request_that_an_error_handler_answers(leg: Leg, app: Any) -> None:
    app.register_error_handler(404, lambda error: "found")
    assert leg.get(app, "/none").status == 200
    check(leg, Done("GET", "<unmatched>", 200))


def test_unmatched_request_whose_error_handler_raises(leg: Leg, app: Any) -> None:
    app.register_error_handler(404, lambda error: fail())
    assert leg.get(app, "/none").status == 500
    check(leg, Done("GET", "<unmatched>", 500, failed=True))


def test_unmatched_request_that_before_request_answers(leg: Leg, app: Any) -> None:
    app.before_request(lambda: ("closed", 503))
    assert leg.get(app, "/none").status == 503
    check(leg, Done("GET", "<unmatched>", 503))


def test_options_that_the_framework_answers(leg: Leg, app: Any) -> None:
    app.add_url_rule("/", view_func=leg.view(fail))
    assert leg.request(app, "/", "OPTIONS").status == 200
    check(leg, Done("OPTIONS", "/", 200))


def test_invented_method_is_other(leg: Leg, app: Any) -> None:
    assert leg.request(app, "/none", "BREW").status == 404
    check(leg, Done("<other>", "<unmatched>", 404))


@pytest.mark.parametrize("answer", [None, "text", 5])
def test_answer_that_is_no_response_is_an_unhandled_exception(
    leg: Leg, app: Any, answer: Any
) -> None:
    route(leg, app, lambda: (answer, "not", "a", "response"))
    assert leg.get(app, "/").status == 500
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


@pytest.mark.parametrize(
    ("answer", "status"),
    [(lambda: "ok", 200), (fail, 500)],
    ids=["returns", "raises"],
)
def test_default_labels_are_resolved_from_the_final_response(
    leg: Leg, answer: Any, status: int
) -> None:
    app = leg.make_app(testing=True)
    default_labels = {
        "tenant": "t1",
        "host": lambda: leg.web.request.host,
        "code": lambda response: response.status_code,
    }
    leg.make_metrics(app, default_labels=default_labels)
    app.add_url_rule("/", view_func=leg.view(answer), endpoint="view")
    with suppress(ZeroDivisionError):
        leg.get(app, "/")
    labels = (("tenant", "t1"), ("host", "localhost"), ("code", str(status)))
    done = Done("GET", "/", status, failed=status == 500, labels=labels)
    assert samples(leg.registry) == expected(done)


@pytest.mark.parametrize("path", ["/ok", "/fails"])
def test_a_request_is_in_progress_until_it_is_recorded(leg: Leg, path: str) -> None:
    """A scrape may come in between, and is not to show neither."""

    def fails() -> str:
        raise ZeroDivisionError

    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)
    app.add_url_rule("/ok", "ok", leg.view(lambda: "ok"))
    app.add_url_rule("/fails", "fails", leg.view(fails))
    site, seen = app.extensions["promweb"], []

    record = site.record

    def look_and_record(*args: Any) -> None:
        seen.append(leg.value("flask_http_requests_in_progress", method="GET"))
        record(*args)

    site.record = look_and_record
    leg.get(app, path)
    assert seen == [1]
    assert leg.value("flask_http_requests_in_progress", method="GET") == 0
