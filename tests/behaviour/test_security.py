"""`promweb.security`, on both frameworks and on the separate server."""

from __future__ import annotations

import base64
import gc
import hashlib
import http.client
import inspect
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import quart
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.security import generate_password_hash

from promweb import AsyncPrometheusMetrics, PrometheusMetrics, security
from promweb.security import Guard, all_of, allow_networks, basic_auth, bearer_token
from tests.support.legs import LEGS, Leg, Reply
from tests.support.running import python
from tests.support.waiting import DEADLINE

TOKEN = "a-long.random~token_1+/=="
HOST = "127.0.0.1"


def sha256(secret: str) -> str:
    return f"sha256:{hashlib.sha256(secret.encode()).hexdigest()}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(user: str, password: str, encoding: str = "utf-8") -> dict[str, str]:
    login = f"{user}:{password}".encode(encoding)
    return {"Authorization": f"Basic {base64.b64encode(login).decode()}"}


def scrape(
    leg: Leg,
    decorator: Any,
    headers: Any = None,
    peer: str | None = HOST,
    method: str = "GET",
) -> Reply:
    """Send one request for metrics that are protected by a decorator."""
    app = leg.make_app()
    leg.make_metrics(app, metrics_decorator=decorator)
    if app.__class__ is Flask:
        where: dict[str, Any] = {"environ_overrides": {"REMOTE_ADDR": peer}}
    else:
        where = {"scope_base": {"client": None if peer is None else (peer, 1)}}
    return leg.request(app, "/metrics", method, headers=headers or {}, **where)


@pytest.fixture(params=["flask-sync", "quart-sync"])
def leg(request: pytest.FixtureRequest) -> Leg:
    """Run the test once per framework: the application's views play no part here."""
    return LEGS[request.param]()


# --- bearer tokens ------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [TOKEN, sha256(TOKEN), "sha256:" + sha256(TOKEN)[7:].upper()])
def test_bearer_token_lets_in_who_has_it(leg: Leg, given: str) -> None:
    reply = scrape(leg, bearer_token(given), bearer(TOKEN))
    assert reply.status == 200
    assert b"flask_exporter_info" in reply.data


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_scheme_is_written_in_any_case(leg: Leg, scheme: str) -> None:
    reply = scrape(leg, bearer_token(TOKEN), {"Authorization": f"{scheme} {TOKEN}"})
    assert reply.status == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer{TOKEN}",
        f"Token {TOKEN}",
    ],
)
def test_request_without_a_token_is_asked_for_one(leg: Leg, authorization: str) -> None:
    reply = scrape(leg, bearer_token(TOKEN), {"Authorization": authorization})
    assert (reply.status, reply.data) == (401, b"Unauthorized\n")
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="metrics"'
    assert reply.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    "token",
    [
        "",
        TOKEN[:-1],
        f"{TOKEN}=",
        TOKEN.upper(),
        sha256(TOKEN),
        hashlib.sha256(TOKEN.encode()).hexdigest(),
        "\xe9\xff",
        f"{TOKEN} {TOKEN}",
        f"{TOKEN},{TOKEN}",
        "x" * 100_000,
    ],
)
def test_wrong_token_is_invalid(leg: Leg, token: str) -> None:
    reply = scrape(leg, bearer_token(TOKEN, sha256("other")), bearer(token))
    assert (reply.status, reply.data) == (401, b"Unauthorized\n")
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="metrics", error="invalid_token"'


def test_several_tokens_are_good_at_a_time(leg: Leg) -> None:
    guard = bearer_token("new", sha256("old"))
    statuses = [scrape(leg, guard, bearer(token)).status for token in ("new", "old", "older")]
    assert statuses == [200, 200, 401]


# --- basic authentication -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("prometheus", "s3cret"),
        ("prometheus", "with: a colon, and spaces "),
        ("Jürgen", "пароль £"),
        ("名前", "パスワード 🔑"),
    ],
)
@pytest.mark.parametrize("hashed", [False, True])
def test_basic_auth_lets_in_who_knows(leg: Leg, user: str, password: str, hashed: bool) -> None:
    guard = basic_auth(user, sha256(password) if hashed else password)
    assert scrape(leg, guard, basic(user, password)).status == 200
    assert scrape(leg, guard, basic(user, f"{password}x")).status == 401
    assert scrape(leg, guard, basic(f"{user}x", password)).status == 401


def test_several_passwords_are_good_at_a_time(leg: Leg) -> None:
    guard = basic_auth("prometheus", "new", sha256("old"))
    statuses = [
        scrape(leg, guard, basic("prometheus", password)).status
        for password in ("new", "old", "older")
    ]
    assert statuses == [200, 200, 401]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("s3cret"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic ===="},
        {"Authorization": "Basic \xff\xfe"},
        {"Authorization": "Basic cHJvbWV0aGV1czpzM2NyZX!!Q="},  # good, with garbage in between
        {"Authorization": "Basic " + base64.b64encode(b"prometheus").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
        basic("prometheus", ""),
        basic("", "s3cret"),
        basic("s3cret", "prometheus"),
        basic("prometheus", "s3cret:"),
        basic("prometheus", sha256("s3cret")),
        basic("é", "é", "latin-1"),
    ],
)
def test_others_are_asked_for_a_password(leg: Leg, headers: dict[str, str]) -> None:
    reply = scrape(leg, basic_auth("prometheus", "s3cret"), headers)
    assert (reply.status, reply.data) == (401, b"Unauthorized\n")
    assert reply.headers["WWW-Authenticate"] == 'Basic realm="metrics", charset="UTF-8"'


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every known digest is compared, with the function that is made for it."""
    compared = []

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((type(one), len(one), type(other), len(other)))
        return one == other

    monkeypatch.setattr(security.hmac, "compare_digest", compare_digest)
    leg = LEGS["flask-sync"]()
    scrape(leg, bearer_token("new", "old"), bearer("new"))
    assert compared == [(bytes, 32, bytes, 32)] * 2
    compared.clear()
    scrape(leg, basic_auth("user", "new", "old"), basic("nobody", "x"))
    assert compared == [(bytes, 32, bytes, 32)] * 3


# --- networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("networks", "peer", "status"),
    [
        (["10.0.0.0/8"], "10.1.2.3", 200),
        (["10.0.0.0/8"], "11.1.2.3", 403),
        (["10.0.0.0/8", "192.168.0.7"], "192.168.0.7", 200),
        (["10.0.0.0/8", "192.168.0.7"], "192.168.0.8", 403),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", 200),
        (["10.0.0.0/8"], "::ffff:11.1.2.3", 403),
        (["10.0.0.0/8"], "::10.1.2.3", 403),
        (["fd00::/8"], "fd12::1", 200),
        (["fd00::/8"], "fe12::1", 403),
        (["fe80::/10"], "fe80::1%eth0", 200),
        (["::1"], "::1", 200),
        (["0.0.0.0/0"], "::1", 403),
        (["::/0"], "10.1.2.3", 403),
        (["::/0"], "::ffff:10.1.2.3", 403),
        (["0.0.0.0/0", "::/0"], "", 403),
        (["0.0.0.0/0", "::/0"], None, 403),
        (["0.0.0.0/0", "::/0"], "unix:", 403),
        (["0.0.0.0/0", "::/0"], "<local>", 403),
        (["0.0.0.0/0", "::/0"], "10.1.2.3:80", 403),
        (["0.0.0.0/0", "::/0"], "010.1.2.3", 403),
        (["0.0.0.0/0", "::/0"], "1", 403),
    ],
)
def test_networks(leg: Leg, networks: list[str], peer: str | None, status: int) -> None:
    reply = scrape(leg, allow_networks(*networks), peer=peer)
    assert reply.status == status
    if status == 403:
        assert reply.data == b"Forbidden\n"
        assert "WWW-Authenticate" not in reply.headers


def test_forwarding_headers_mean_nothing_unless_told(leg: Leg) -> None:
    names = ("X-Forwarded-For", "X-Real-Ip", "Remote-Addr", "Client-Ip", "X-Remote-Addr")
    headers = {**dict.fromkeys(names, "10.0.0.1"), "Forwarded": "for=10.0.0.1"}
    assert scrape(leg, allow_networks("10.0.0.0/8"), headers, "8.8.8.8").status == 403


@pytest.mark.parametrize(
    ("proxies", "forwarded", "status"),
    [
        (1, ["10.0.0.1"], 200),
        (1, ["8.8.8.8"], 403),
        (1, ["10.0.0.1, 8.8.8.8"], 403),  # the first is what the client claims
        (1, ["8.8.8.8, 10.0.0.1"], 200),
        (1, ["8.8.8.8,10.0.0.1"], 200),
        (1, ["10.0.0.1", "8.8.8.8"], 403),  # two lines of the header
        (1, ["8.8.8.8", "10.0.0.1"], 200),
        (1, ["8.8.8.8", "::ffff:10.0.0.1"], 200),
        (2, ["10.0.0.1, 8.8.8.8"], 200),
        (2, ["10.0.0.1, 8.8.8.8, 9.9.9.9"], 403),
        (2, ["10.0.0.1"], 403),
        (3, ["10.0.0.1, 10.0.0.1"], 403),
        (1, [], 403),
        (1, [""], 403),
        (1, ["10.0.0.1,"], 403),
        (1, ["10.0.0.1 10.0.0.1"], 403),
        (1, ["10.0.0.1:443"], 403),
        (1, ["unknown"], 403),
        (1, ["\xff\xfe"], 403),
        (1, ["10.0.0.1" + "," * 50_000], 403),
    ],
)
def test_trusted_proxies(leg: Leg, proxies: int, forwarded: list[str], status: int) -> None:
    guard = allow_networks("10.0.0.0/8", trusted_proxies=proxies)
    headers = [("X-Forwarded-For", line) for line in forwarded]
    for peer in ("10.0.0.2", "8.8.8.8", None):  # the peer is the proxy, whatever its address
        assert scrape(leg, guard, headers, peer).status == status


# --- what all have in common --------------------------------------------------------------------

GUARDS: dict[str, Callable[[], Guard]] = {
    "bearer_token": lambda: bearer_token(TOKEN),
    "basic_auth": lambda: basic_auth("prometheus", "s3cret"),
    "allow_networks": lambda: allow_networks("10.0.0.0/8"),
}


@pytest.fixture(params=GUARDS)
def guard(request: pytest.FixtureRequest) -> Guard:
    return GUARDS[request.param]()


def test_head_is_refused_like_get(leg: Leg, guard: Guard) -> None:
    full = scrape(leg, guard)
    head = scrape(leg, guard, method="HEAD")
    assert head.status == full.status
    assert head.data == b"" or leg.web is quart  # there the server drops it
    for name in ("WWW-Authenticate", "Content-Length", "Content-Type"):
        assert head.headers.get(name) == full.headers.get(name)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_not_allowed(leg: Leg, guard: Guard, method: str) -> None:
    reply = scrape(leg, guard, method=method)
    assert reply.status == 405
    allowed = {name.strip() for name in reply.headers["Allow"].split(",")}
    assert allowed == {"GET", "HEAD", "OPTIONS"}


def test_refusals_are_not_the_application_s_pages(leg: Leg, guard: Guard) -> None:
    """An error page may lead to a form, where Prometheus would not find metrics."""
    app = leg.make_app()
    for status in (401, 403):
        app.register_error_handler(status, lambda error: ("log in", 200))
    leg.make_metrics(app, metrics_decorator=guard)
    where = {"environ_overrides": {"REMOTE_ADDR": HOST}} if app.__class__ is Flask else {}
    assert leg.get(app, "/metrics", **where).status in (401, 403)


def test_scrapes_are_counted_nowhere(leg: Leg, guard: Guard) -> None:
    scrape(leg, guard)
    assert leg.label_sets("flask_http_request_total") == []


def test_view_stays_what_it_is(guard: Guard) -> None:
    def plain(name: str) -> str:
        """Say something."""
        return name

    async def coroutine(name: str) -> str:
        return name

    assert not inspect.iscoroutinefunction(guard(plain))
    assert inspect.iscoroutinefunction(guard(coroutine))
    assert guard(plain).__name__ == "plain"
    assert guard(plain).__doc__ == "Say something."
    assert inspect.signature(guard(plain)) == inspect.signature(plain)


def test_guard_protects_any_view(leg: Leg) -> None:
    app = leg.make_app()
    token = bearer_token(TOKEN)

    async def asynchronous(name: str) -> str:
        return name

    app.add_url_rule("/plain/<name>", view_func=token(lambda name: name))
    app.add_url_rule("/async/<name>", "async", view_func=token(asynchronous))
    for path in ("/plain/x", "/async/x"):
        assert leg.get(app, path).status == 401
        reply = leg.get(app, path, headers=bearer(TOKEN))
        assert (reply.status, reply.text) == (200, "x")


def test_guard_outside_of_a_request_says_so(guard: Guard) -> None:
    with pytest.raises(RuntimeError, match="outside of a request"):
        guard(lambda: "x")()


def test_of_two_frameworks_the_request_of_the_view_counts() -> None:
    """A Quart application that is called from within a Flask view, as a gateway does."""
    inner, outer = LEGS["quart-async"](), LEGS["flask-sync"]()
    guard = bearer_token(TOKEN)
    seen = []

    def gateway() -> str:
        for headers in (bearer(TOKEN), {}):
            seen.append(scrape(inner, guard, headers).status)
        return "done"

    app = outer.make_app()
    app.add_url_rule("/", view_func=gateway)
    outer.get(app, "/")
    outer.get(app, "/", headers=bearer(TOKEN))
    assert seen == [200, 401, 200, 401]


# --- several ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["all_of", "nested"])
def test_several_guards(leg: Leg, how: str) -> None:
    near, token = allow_networks("10.0.0.0/8"), bearer_token(TOKEN)
    both = all_of(near, token) if how == "all_of" else lambda view: near(token(view))
    replies = [
        scrape(leg, both, bearer(TOKEN), "10.0.0.1").status,
        scrape(leg, both, {}, "10.0.0.1").status,
        scrape(leg, both, bearer(TOKEN), "8.8.8.8").status,
        scrape(leg, both, {}, "8.8.8.8").status,  # the first guard answers
    ]
    assert replies == [200, 401, 403, 403]


def test_guard_in_a_plain_decorator_on_quart() -> None:
    """Someone's decorator made a plain function of the view, which Quart calls in a thread."""
    leg = LEGS["quart-async"]()

    def plain(view: Any) -> Any:
        return lambda **kwargs: view(**kwargs)

    guard = all_of(bearer_token(TOKEN), plain)
    assert scrape(leg, guard, bearer(TOKEN)).status == 200
    assert scrape(leg, guard).status == 401


@pytest.mark.parametrize("guards", [(), ("secret",), (bearer_token(TOKEN), None)])
def test_all_of_takes_decorators(guards: Any) -> None:
    with pytest.raises(TypeError, match="all_of takes decorators") as caught:
        all_of(*guards)
    assert "secret" not in str(caught.value)


# --- the separate server ------------------------------------------------------------------------


@pytest.fixture
def ask(leg: Leg) -> Iterator[Callable[..., tuple[int, bytes, Any]]]:
    """Return a function that asks a separate server whose metrics are protected."""
    servers = []

    def ask(decorator: Any, method: str = "GET", **headers: str) -> tuple[int, bytes, Any]:
        metrics = leg.make_metrics(None, metrics_decorator=decorator)
        metrics.info("seen", "Seen.")
        servers.append(metrics.start_http_server(0, HOST))
        connection = http.client.HTTPConnection(HOST, servers[-1].port, timeout=DEADLINE)
        try:
            connection.putrequest(method, "/metrics")
            for name, value in headers.items():
                connection.putheader(name.strip("1"), value)
            connection.endheaders()
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    yield ask
    for server in servers:
        server.close()


def test_separate_server_asks_for_a_token(ask: Any) -> None:
    guard = bearer_token(TOKEN)
    status, body, headers = ask(guard)
    assert (status, body) == (401, b"Unauthorized\n")
    assert headers["WWW-Authenticate"] == 'Bearer realm="metrics"'
    status, body, headers = ask(guard, "HEAD")
    assert (status, body) == (401, b"")
    assert headers["WWW-Authenticate"] == 'Bearer realm="metrics"'
    status, body, _ = ask(guard, **bearer(TOKEN))
    assert status == 200
    assert b"\nseen 1.0\n" in body
    status, _, headers = ask(guard, "POST")
    assert status == 405
    assert "GET" in headers["Allow"]


def test_separate_server_asks_for_a_password(ask: Any) -> None:
    guard = basic_auth("Jürgen", "пароль")
    assert ask(guard)[0] == 401
    assert ask(guard, **basic("Jürgen", "пароль"))[0] == 200


def test_separate_server_looks_at_the_peer(ask: Any) -> None:
    assert ask(allow_networks("127.0.0.0/8"))[0] == 200
    for name in ("X-Forwarded-For", "Remote-Addr", "Remote_Addr", "REMOTE_ADDR"):
        assert ask(allow_networks("10.0.0.0/8"), **{name: "10.0.0.1"})[0] == 403


def test_separate_server_behind_a_proxy(ask: Any) -> None:
    guard = allow_networks("10.0.0.0/8", trusted_proxies=1)
    assert ask(guard, **{"X-Forwarded-For": "8.8.8.8, 10.0.0.1"})[0] == 200
    assert ask(guard, **{"X-Forwarded-For": "10.0.0.1, 8.8.8.8"})[0] == 403
    lines = {"X-Forwarded-For": "8.8.8.8", "X-Forwarded-For1": "10.0.0.1"}
    assert ask(guard, **lines)[0] == 200


def test_separate_server_drops_headers_that_pass_for_the_proxy_s(ask: Any) -> None:
    """WSGI would join `X_Forwarded_For` of the client with `X-Forwarded-For` of the proxy."""
    guard = allow_networks("10.0.0.0/8", trusted_proxies=1)
    spoofed = {"X-Forwarded-For": "8.8.8.8", "X_Forwarded_For": "10.0.0.1"}
    assert ask(guard, **spoofed)[0] == 403


# --- wrong use ----------------------------------------------------------------------------------

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: bearer_token(), ValueError, "bearer_token needs a token"),
        (lambda: bearer_token(""), ValueError, "not empty"),
        (lambda: bearer_token("good", ""), ValueError, "not empty"),
        (lambda: bearer_token(None), TypeError, "a token must be a string, not NoneType"),
        (lambda: bearer_token(SECRET.encode()), TypeError, "a token must be a string, not bytes"),
        (lambda: bearer_token([SECRET]), TypeError, "a token must be a string, not list"),
        (lambda: bearer_token(f"{SECRET}\n"), ValueError, "newline of a file"),
        (lambda: bearer_token(f"Bearer {SECRET}"), ValueError, "visible ASCII"),
        (lambda: bearer_token(f"{SECRET}é"), ValueError, "visible ASCII"),
        (lambda: bearer_token(f"{SECRET}\ud800"), ValueError, "visible ASCII"),
        (lambda: bearer_token(f"sha256:{SECRET}"), ValueError, "64 hexadecimal digits"),
        (lambda: bearer_token(f"{sha256(SECRET)}0"), ValueError, "64 hexadecimal digits"),
        (lambda: bearer_token("$2b$12$" + SECRET), ValueError, "slow hash"),
        (lambda: basic_auth(SECRET), ValueError, "basic_auth needs a password"),
        (
            lambda: basic_auth("", SECRET),
            ValueError,
            "a user must be text without a colon, not empty",
        ),
        (lambda: basic_auth(f"user:{SECRET}", "x"), ValueError, "without a colon"),
        (lambda: basic_auth("user\n", SECRET), ValueError, "newline of a file"),
        (lambda: basic_auth("user\ud800", SECRET), ValueError, "a user must be text"),
        (lambda: basic_auth(b"user", SECRET), TypeError, "a user must be a string, not bytes"),
        (lambda: basic_auth("user", ""), ValueError, "a password must be text, not empty"),
        (lambda: basic_auth("user", f"{SECRET}\n"), ValueError, "newline of a file"),
        (lambda: basic_auth("user", f"{SECRET}\ud800"), ValueError, "a password must be text"),
        (lambda: basic_auth("user", SECRET.encode()), TypeError, "a string, not bytes"),
        (lambda: basic_auth("user", None), TypeError, "a string, not NoneType"),
        (lambda: basic_auth("user", f"sha256:{SECRET}"), ValueError, "64 hexadecimal digits"),
        (lambda: basic_auth("user", generate_password_hash(SECRET)), ValueError, "slow hash"),
        (
            lambda: basic_auth("u", generate_password_hash(SECRET, "pbkdf2:sha256:1")),
            ValueError,
            "slow",
        ),
        (lambda: basic_auth("user", "$argon2id$v=19$" + SECRET), ValueError, "slow hash"),
        (lambda: basic_auth("user", "$apr1$" + SECRET), ValueError, "slow hash"),
        (lambda: all_of(SECRET), TypeError, "all_of takes decorators"),
    ],
)
def test_wrong_secrets_are_errors_without_the_secret(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        make()
    shown = traceback.TracebackException.from_exception(
        caught.value.with_traceback(caught.tb.tb_next.tb_next),  # type: ignore[union-attr]
        capture_locals=True,
    )
    assert any(frame.locals for frame in shown.stack)  # those of promweb; the others are ours
    assert SECRET not in "".join(shown.format())


@pytest.mark.parametrize(
    ("networks", "options", "message"),
    [
        ([], {}, "needs a network"),
        (["10.0.0.1/8"], {}, "has host bits set; write an address or a network"),
        (["fd00::1/8"], {}, "has host bits set"),
        (["10.0.0.0/33"], {}, "does not appear to be an IPv4 or IPv6 network"),
        (["10.0.0.0/8,192.168.0.0/16"], {}, "as in '10.0.0.0/8'"),
        ([""], {}, "does not appear"),
        (["localhost"], {}, "does not appear"),
        ([" 10.0.0.0/8"], {}, "does not appear"),
        ([b"\x0a\x00\x00\x00"], {}, "is not a string"),
        ([167772160], {}, "is not a string"),
        ([None], {}, "is not a string"),
        (["::ffff:10.0.0.0/104"], {}, "maps IPv4 addresses"),
        (["10.0.0.0/8"], {"trusted_proxies": -1}, "trusted_proxies must be a number of proxies"),
        (["10.0.0.0/8"], {"trusted_proxies": True}, "trusted_proxies must be a number of proxies"),
        (["10.0.0.0/8"], {"trusted_proxies": "1"}, "not '1'"),
    ],
)
def test_wrong_networks_are_errors(networks: list[Any], options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        allow_networks(*networks, **options)


def test_guard_that_was_not_called_is_an_error() -> None:
    with pytest.raises(TypeError, match="a token must be a string, not function"):
        PrometheusMetrics(Flask("shop"), metrics_decorator=bearer_token)
    with pytest.raises(TypeError, match="a token must be a string, not function"):
        AsyncPrometheusMetrics(quart.Quart("shop"), metrics_decorator=bearer_token)


# --- secrets stay secret ------------------------------------------------------------------------

SECRET_GUARDS = [lambda: bearer_token(SECRET, "other"), lambda: basic_auth("user", SECRET)]


@pytest.mark.parametrize("make", SECRET_GUARDS)
def test_repr_shows_no_secret(make: Callable[[], Guard]) -> None:
    guard = make()
    assert repr(guard) in ("<bearer_token>", "<basic_auth>")
    assert repr(allow_networks("10.0.0.0/8", "::1")) == "<allow_networks 10.0.0.0/8, ::1/128>"
    for shown in (vars(guard), guard(lambda: ""), all_of(guard)):
        assert SECRET not in repr(shown)
        assert hashlib.sha256(SECRET.encode()).hexdigest() not in repr(shown)


@pytest.mark.parametrize("make", SECRET_GUARDS)
def test_nothing_keeps_a_secret(make: Callable[[], Guard]) -> None:
    """A look at everything that a guard refers to, as a debugger or a memory dump would have."""
    seen: set[int] = set()
    waiting: list[Any] = [make()]
    while waiting:
        found = waiting.pop()
        is_of_all = inspect.ismodule(found) or isinstance(found, type) or found is vars(security)
        if is_of_all or id(found) in seen:
            continue
        seen.add(id(found))
        assert found not in (SECRET, SECRET.encode())
        waiting.extend(gc.get_referents(found))
    assert len(seen) > 5


@pytest.mark.parametrize("make", SECRET_GUARDS)
def test_traceback_of_the_view_shows_no_secret(make: Callable[[], Guard]) -> None:
    """With local variables, as tools that report errors show them."""
    leg = LEGS["flask-sync"]()
    app = leg.make_app(testing=True)
    app.add_url_rule("/broken", "broken", make()(lambda: 1 / 0))
    headers = bearer(SECRET)
    headers |= basic("user", SECRET) if repr(make()) == "<basic_auth>" else {}
    with pytest.raises(ZeroDivisionError) as caught:
        leg.get(app, "/broken", headers=headers)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    ours = [frame for frame in frames if frame.filename == security.__file__]
    assert [frame.name for frame in ours] == ["protected"]
    assert SECRET not in str(ours[0].locals)


@pytest.mark.parametrize("make", SECRET_GUARDS)
def test_nothing_is_logged_or_labelled(
    leg: Leg, make: Callable[[], Guard], caplog: pytest.LogCaptureFixture
) -> None:
    headers = (bearer(SECRET), basic("user", SECRET), bearer(f"{SECRET}x"), basic("user", "x"))
    with caplog.at_level(logging.DEBUG):
        statuses = {scrape(leg, make(), given).status for given in headers}
    assert statuses == {200, 401}
    assert [r for r in caplog.records if r.name != "asyncio"] == []
    shown = "".join(str(metric) for metric in leg.registry.collect())
    assert "hunter2" not in shown
    assert basic("user", SECRET)["Authorization"].split()[1] not in shown


# --- whatever a stranger sends ------------------------------------------------------------------


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60))
def test_no_header_breaks_or_passes_a_guard(text: str) -> None:
    leg = LEGS["flask-sync"]()
    app = leg.make_app(testing=True)  # where an exception would leave the application
    views = {"token": bearer_token(SECRET), "login": basic_auth("user", SECRET)}
    views["network"] = allow_networks("10.0.0.0/8", trusted_proxies=2)
    for name, guard in views.items():
        app.add_url_rule(f"/{name}", name, guard(lambda: "let in"))
    for value in (text, f"Bearer {text}", f"Basic {text}"):
        headers = {"Authorization": value, "X-Forwarded-For": value}
        statuses = {leg.get(app, f"/{name}", headers=headers).status for name in views}
        assert statuses == {401, 403}


def test_importing_it_imports_no_framework() -> None:
    code = "import sys, promweb.security as s; s.bearer_token('x'); s.allow_networks('::1');"
    code += "print({'flask', 'quart', 'werkzeug'} & set(sys.modules))"
    done = python(code, check=True)
    assert done.stdout == "set()\n"


def test_importing_promweb_does_not_import_it() -> None:
    code = (
        "import sys, promweb; promweb.PrometheusMetrics; print('promweb.security' in sys.modules)"
    )
    done = python(code, check=True)
    assert done.stdout == "False\n"
