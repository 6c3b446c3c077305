"""`promweb diff --replay`: the requests in a file, and where they are sent."""

from __future__ import annotations

import socket
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from promweb.scrapes.parsing import ScrapeError
from promweb.tools.diff.replay import replay
from promweb.tools.replay.requests_file import Request, read_requests
from promweb.tools.replay.sender import MAX_BODY, Sender, is_loopback
from tests.support.waiting import DEADLINE

from .diffing import Exposing, diff, run

pytest.importorskip("promql_parser")

EXPOSED = "# TYPE jobs_total counter\njobs_total 1\n"


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("GET /a?b=c", Request("GET", "/a?b=c")),
        ("get /a HTTP/1.1", Request("GET", "/a")),
        ("/a", Request("GET", "/a")),
        ("  HEAD   /a  ", Request("HEAD", "/a")),
        ("GET http://elsewhere.example/a?b", Request("GET", "/a?b")),
        ("http://elsewhere.example", Request("GET", "/")),
        (
            '127.0.0.1 - - [10/Oct/2026:13:55:36 -0700] "POST /a HTTP/1.1" 200 23 "-" "curl"',
            Request("POST", "/a"),
        ),
        ('INFO:     127.0.0.1:5000 - "GET /a%20b HTTP/1.1" 200 OK', Request("GET", "/a%20b")),
        ('[2026-11-29] 127.0.0.1:1 "GET /a 1.1" 200', Request("GET", "/a")),
        ('{"path": "/a"}', Request("GET", "/a")),
        (
            '{"method": "post", "path": "/a", "headers": {"X-A": 1}, "body": "x"}',
            Request("POST", "/a", (("X-A", "1"),), b"x"),
        ),
        (
            '{"method": "PUT", "url": "/a", "json": {"b": 1}}',
            Request("PUT", "/a", (("Content-Type", "application/json"),), b'{"b": 1}'),
        ),
        (
            '{"method": "POST", "path": "/a", "form": {"b": "ü", "c": [1, 2]}}',
            Request(
                "POST",
                "/a",
                (("Content-Type", "application/x-www-form-urlencoded"),),
                b"b=%C3%BC&c=1&c=2",
            ),
        ),
        ('{"request": {"method": "GET", "uri": "/a"}, "status": 200}', Request("GET", "/a")),
    ],
)
def test_lines(line: str, request_: Request) -> None:
    methods = {"GET", "HEAD", "POST", "PUT"}
    assert read_requests([line], methods, 10).sent == [request_]


@pytest.mark.parametrize(
    "line",
    ["hello", "GET a", '"GET"', "{", '{"method": "GET"}', "GET /ä", "http://[/", '{"path": "a b"}'],
)
def test_lines_that_are_no_request(line: str) -> None:
    found = read_requests([line], {"GET"}, 10)
    assert (found.sent, found.unreadable) == ([], 1)


def test_what_is_not_sent_is_counted() -> None:
    lines = ["# a comment", "", "/1", "POST /2", "POST /3", "DELETE /4", "?", "/5", "/6"]
    found = read_requests(lines, {"GET"}, 2)
    assert [one.target for one in found.sent] == ["/1", "/5"]
    assert found.methods == {"POST": 2, "DELETE": 1}
    assert (found.unreadable, found.surplus) == (1, 1)


def test_requests_without_the_body_that_they_need_are_counted() -> None:
    lines = [
        "POST /1",
        '{"method": "PUT", "path": "/2", "json": 1}',
        '{"method":"PUT","path":"/3"}',
    ]
    found = read_requests(lines, {"POST", "PUT"}, 10)
    assert (len(found.sent), found.empty) == (3, {"POST": 1, "PUT": 1})


@pytest.mark.parametrize(
    ("url", "is_own"),
    [
        ("http://127.0.0.1:5000/metrics", True),
        ("http://127.8.9.1/", True),
        ("http://[::1]:1/", True),
        ("http://localhost/", True),
        ("http://localhost.example/", False),
        ("http://127.0.0.1.example/", False),
        ("http://10.0.0.1/", False),
        ("http://shop/", False),
    ],
)
def test_loopback(url: str, is_own: bool) -> None:
    assert is_loopback(url) is is_own


class Silent:
    """A sender that notes the requests, and gives prepared answers."""

    def __init__(self, *answers: int | Exception) -> None:
        self.url = "http://silent"
        self.answers = list(answers)
        self.sent: list[str] = []

    def send(self, request: Request) -> int:
        self.sent.append(str(request))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def replayed(requests: int, old: Any, new: Any, rate: float = 10.0) -> tuple[list[str], float]:
    """Return what was found, and the seconds that it took of a clock that only sleeping moves."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    given = [Request("GET", f"/{number}") for number in range(requests)]
    found = replay(given, old, new, rate=rate, clock=lambda: now, sleep=sleep)
    return [one.what for one in found], now


def test_both_get_every_request_at_a_rate() -> None:
    old, new = Silent(200), Silent(200)
    assert replayed(11, old, new) == ([], pytest.approx(1.0))
    assert old.sent == new.sent == [f"GET /{number}" for number in range(11)]


def test_other_statuses_are_found() -> None:
    old, new = Silent(200, 200, 404, 200), Silent(200, 500, 404, ConnectionResetError("gone"))
    assert replayed(4, old, new)[0] == [
        "GET /1: answered 200 by OLD and 500 by NEW",
        "GET /3: answered 200 by OLD and not at all (gone) by NEW",
    ]


@pytest.mark.parametrize("fault", [TimeoutError("timed out"), HTTPException("what?")])
def test_who_no_longer_answers_is_left_alone(fault: Exception) -> None:
    old, new = Silent(200), Silent(200, 200, fault)
    with pytest.raises(ScrapeError, match=r"http://silent did not answer 5 requests in a row"):
        replayed(100, old, new)
    assert len(new.sent) == 7


def test_a_request_as_it_is_sent() -> None:
    with Exposing(EXPOSED) as service:
        request = Request("POST", "/a?b", (("X-A", "1"),), b"body")
        service.statuses["/a?b"] = 302
        assert Sender(service.url, timeout=DEADLINE).send(request) == 302
        [(method, path, headers, body)] = service.asked
    assert (method, path, body) == ("POST", "/a?b", b"body")
    assert headers == {
        "host": f"127.0.0.1:{service.port}",
        "accept-encoding": "identity",
        "content-length": "4",
        "user-agent": "promweb-diff",
        "connection": "close",
        "x-a": "1",
    }


def test_requests_go_to_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with Exposing(EXPOSED) as service:
        assert Sender(service.url, timeout=DEADLINE).send(Request("GET", "/")) == 200


@pytest.mark.parametrize("forever", [False, True])
def test_an_answer_without_an_end_is_left(forever: bool) -> None:
    """After the timeout, or after the most bytes that it reads."""
    from threading import Thread

    with socket.create_server(("127.0.0.1", 0)) as listener:
        sent = 0

        def serve() -> None:
            nonlocal sent
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                piece = b"x" * (1 if forever else 2**16)
                try:
                    while True:
                        connection.sendall(piece)
                        sent += len(piece)
                except OSError:
                    pass

        thread = Thread(target=serve)
        thread.start()
        now = iter(range(100))
        # Each look at this clock takes a second.
        clock = (lambda: float(next(now))) if forever else (lambda: 0.0)
        sender = Sender(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=5.0, clock=clock)
        assert sender.send(Request("GET", "/")) == 200
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert sent < 4 * MAX_BODY


class Counting(Exposing):
    """Counts requests other than scrapes, plus some given ones."""

    earlier = 0

    @property
    def text(self) -> str:
        return self.expose([path for _, path, _, _ in self.asked if path != "/metrics"])

    @text.setter
    def text(self, given: str) -> None:
        pass

    def expose(self, paths: list[str]) -> str:
        return f"# TYPE jobs_total counter\njobs_total {self.earlier + len(paths)}\n"


def test_numbers_that_were_there_before_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "requests").write_text("/1\n/2\nPOST /3\n")
    with Counting("") as old, Counting("") as new:
        old.earlier = 7
        done = run("diff", old.url, new.url, "--replay", str(tmp_path / "requests"))
        assert (done.exit_code, done.stdout) == (0, "There are no differences.\n")
        assert done.stderr == (
            "Note: Requests with POST that are left out: 1. To send them, too, write "
            "--method GET --method HEAD --method POST.\n"
            "Note: Requests that each side gets: 2.\n"
        )
        for service in (old, new):
            paths = [path for _, path, _, _ in service.asked]
            assert paths == ["/metrics", "/1", "/2", "/metrics"]


def test_numbers_that_only_one_counts_are_found(tmp_path: Path) -> None:
    (tmp_path / "requests").write_text("/1\n/2\n")
    options = ("--timeout", "3", "--replay", tmp_path / "requests")
    with Counting("") as old, Exposing(EXPOSED) as new:
        code, [found] = diff(old.url, new.url, *options)
        assert (code, found["check"]) == (1, "number")
        assert found["what"] == "jobs_total changed by 0, in OLD by 2"
        code, found_too = diff(new.url, old.url, *options)
        assert (code, [one["check"] for one in found_too]) == (1, ["number", "uncounted"])


class Setting(Counting):
    """Sets a gauge to `factor` times the number of its last request."""

    factor = 1

    def expose(self, paths: list[str]) -> str:
        last = self.factor * int(paths[-1].strip("/")) if paths else self.earlier
        return (
            f"# TYPE last gauge\nlast {last}\n# TYPE done_total counter\ndone_total {len(paths)}\n"
        )


def test_a_gauge_that_is_set_may_have_had_another_value_before(tmp_path: Path) -> None:
    (tmp_path / "requests").write_text("/6\n")
    with Setting("") as old, Setting("") as new:
        old.earlier = 6  # as if it had got the request before
        assert diff(old.url, new.url, "--replay", tmp_path / "requests") == (0, [])


def test_a_gauge_that_is_set_to_another_value_is_found(tmp_path: Path) -> None:
    (tmp_path / "requests").write_text("/6\n")
    with Setting("") as old, Setting("") as new:
        new.factor = 2
        options = ("--timeout", "0.5", "--replay", tmp_path / "requests")
        code, [found] = diff(old.url, new.url, *options)
    assert (code, found["what"]) == (1, "last changed by 12, in OLD by 6")


def test_requests_that_nobody_counts_prove_nothing(tmp_path: Path) -> None:
    (tmp_path / "requests").write_text("/1\n")
    with Exposing(EXPOSED) as old, Exposing(EXPOSED) as new:
        code, [found] = diff(old.url, new.url, "--replay", tmp_path / "requests")
    assert (code, found["check"]) == (2, "uncounted")


def test_requests_go_to_another_machine_only_where_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "requests").write_text("/1\n")
    replaying = ("--replay", str(tmp_path / "requests"))
    done = run("diff", "shop.invalid", "localhost:1", *replaying)
    assert done.exit_code == 2
    assert "shop.invalid is not on this machine" in done.stderr
    assert "--replay-old shop.invalid" in done.stderr
    with Exposing(EXPOSED) as one, Exposing(EXPOSED) as other:
        services = ("--old", one.url, "--old", other.url, "--new", one.url)
        done = run("diff", *services, *replaying)
        assert "could get the requests; choose one with --replay-old" in done.stderr
        assert one.asked == other.asked == []
        run("diff", *services, *replaying, "--replay-old", other.url)
        assert [path for _, path, _, _ in other.asked].count("/1") == 1
