"""The separate HTTP server of the metrics."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import generate_latest

from promweb.server.connections import TIMEOUT
from promweb.server.http import MetricsServer
from tests.support.legs import LEGS, Leg
from tests.support.samples import samples
from tests.support.waiting import DEADLINE

trustme = pytest.importorskip("trustme")  # has no wheel without the GIL

HOST = "127.0.0.1"
PATIENCE = 25.0
"""Seconds that a client waits: less than the server waits for a client that stalls."""


def test_clients_here_wait_less_than_the_server_does() -> None:
    assert PATIENCE < TIMEOUT


@pytest.fixture(scope="module", params=["flask-sync", "quart-sync"])
def framework(request: pytest.FixtureRequest) -> str:
    """Run everything once per framework: views play no part here."""
    return request.param


@pytest.fixture
def leg(framework: str) -> Leg:
    """Return a leg for a test that needs a server of its own, which takes time to close."""
    return LEGS[framework]()


@pytest.fixture
def metrics(leg: Leg) -> Any:
    return leg.make_metrics(None)


@pytest.fixture(scope="module")
def shared(framework: str) -> Leg:
    """Return the leg of the running servers."""
    return LEGS[framework]()


@pytest.fixture(scope="module")
def shared_metrics(shared: Leg) -> Any:
    """Return metrics that have something to tell."""
    metrics = shared.make_metrics(None)
    metrics.counter("jobs", "Jobs.")(lambda: None)()
    return metrics


@pytest.fixture(scope="module")
def server(shared_metrics: Any) -> Iterator[MetricsServer]:
    server = shared_metrics.start_http_server(0, HOST)
    yield server
    server.close()


@pytest.fixture(scope="module")
def tls_server(shared_metrics: Any, paths: dict[str, str]) -> Iterator[MetricsServer]:
    server = shared_metrics.start_http_server(0, HOST, ssl=paths)
    yield server
    server.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def paths(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the paths of a certificate for localhost and its key."""
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost", HOST)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    for blob in issued.cert_chain_pems:
        blob.write_to_path(certificate, append=True)
    issued.private_key_pem.write_to_path(key)
    return {"cert": str(certificate), "key": str(key)}


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def ask(
    server: MetricsServer,
    path: str = "/metrics",
    method: str = "GET",
    host: str = HOST,
    context: ssl.SSLContext | None = None,
    **headers: str,
) -> tuple[int, bytes, Any]:
    """Send one request and return status, body and headers."""
    if context is None:
        connection = http.client.HTTPConnection(host, server.port, timeout=PATIENCE)
    else:
        connection = http.client.HTTPSConnection(
            host, server.port, timeout=PATIENCE, context=context
        )
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def test_serves_the_metrics_on_a_free_port(shared: Leg, server: MetricsServer) -> None:
    assert server.port > 0
    assert server.url == f"http://{HOST}:{server.port}/metrics"
    status, body, headers = ask(server)
    assert (status, body) == (200, generate_latest(shared.registry))
    assert headers["Content-Length"] == str(len(body))
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_listens_on_every_address_unless_told(metrics: Any) -> None:
    server = metrics.start_http_server(0)
    try:
        assert server.url == f"http://localhost:{server.port}/metrics"
        assert ask(server)[0] == 200
    finally:
        server.close()


def test_serves_from_a_daemon_thread(server: MetricsServer) -> None:
    (thread,) = (t for t in threading.enumerate() if t.name == f"promweb-{server.port}")
    assert thread.daemon


def test_shows_what_happens_later(shared_metrics: Any, server: MetricsServer) -> None:
    assert b"later_total" not in ask(server)[1]
    shared_metrics.counter("later", "Later.")(lambda: None)()
    assert b"\nlater_total 1.0\n" in ask(server)[1]


def test_negotiates_and_filters_like_the_application(server: MetricsServer) -> None:
    _, body, headers = ask(
        server, "/metrics?name[]=jobs_total", Accept="application/openmetrics-text"
    )
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body == b"# HELP jobs Jobs.\n# TYPE jobs counter\njobs_total 1.0\n# EOF\n"
    assert ask(server, **{"Accept-Encoding": "gzip"})[2]["Content-Encoding"] == "gzip"


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics/x", "/favicon.ico", "/static/x"])
def test_answers_only_its_path(server: MetricsServer, path: str) -> None:
    assert ask(server, path)[0] == 404


def test_path_may_be_another(metrics: Any) -> None:
    server = metrics.start_http_server(0, HOST, "/prom")
    try:
        assert server.url == f"http://{HOST}:{server.port}/prom"
        assert ask(server, "/prom")[0] == 200
        assert ask(server, "/metrics")[0] == 404
    finally:
        server.close()


def test_head_has_no_body(server: MetricsServer) -> None:
    status, body, headers = ask(server, method="HEAD")
    assert (status, body) == (200, b"")
    assert headers["Content-Length"] == str(len(ask(server)[1]))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_not_allowed(server: MetricsServer, method: str) -> None:
    status, _, headers = ask(server, method=method)
    assert status == 405
    assert {"GET", "HEAD"} <= {name.strip() for name in headers["Allow"].split(",")}


def test_scrapes_are_no_requests_of_the_application(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, path=None, in_progress=True)
    metrics.register_default(metrics.counter("views", "Views."))
    server = metrics.start_http_server(0, HOST)
    try:
        assert [ask(server, path)[0] for path in ("/metrics", "/x")] == [200, 404]
    finally:
        server.close()
    assert samples(leg.registry, "flask_http_request_total") == []
    assert samples(leg.registry, "flask_http_requests_in_progress") == []
    assert leg.value("views_total") == 0.0
    assert leg.get(app, "/metrics").status == 404


def test_metrics_decorator_is_applied(leg: Leg) -> None:
    def protect(view: Any) -> Any:
        return lambda: ("keep out", 401)

    server = leg.make_metrics(None, metrics_decorator=protect).start_http_server(0, HOST)
    try:
        status, body, _ = ask(server)
        assert (status, body) == (401, b"keep out")
    finally:
        server.close()


def test_failing_collector_is_named(shared: Leg, server: MetricsServer) -> None:
    class Broken:
        def describe(self) -> list[Any]:
            return []

        def collect(self) -> list[Any]:
            raise ConnectionError

    broken = Broken()
    shared.registry.register(broken)  # type: ignore[arg-type]
    status, body, _ = ask(server)
    assert status == 500
    assert b"Broken" in body
    shared.registry.unregister(broken)  # type: ignore[arg-type]
    assert ask(server)[0] == 200


# --- starting and stopping ----------------------------------------------------------------------


def test_close_frees_the_port_and_ends_the_thread(metrics: Any) -> None:
    server = metrics.start_http_server(0, HOST)
    server.close()
    with pytest.raises(ConnectionRefusedError):
        ask(server)
    assert f"promweb-{server.port}" not in {thread.name for thread in threading.enumerate()}
    again = metrics.start_http_server(server.port, HOST)
    assert again.port == server.port
    again.close()


def test_closing_twice_is_harmless(metrics: Any) -> None:
    server = metrics.start_http_server(0, HOST)
    server.close()
    server.close()


def test_two_servers_run_side_by_side(shared_metrics: Any, server: MetricsServer) -> None:
    other = shared_metrics.start_http_server(0, HOST)
    try:
        assert other.port != server.port
        assert ask(other)[:2] == ask(server)[:2]
    finally:
        other.close()
    assert ask(server)[0] == 200


def test_taken_port_under_the_reloader(
    metrics: Any,
    server: MetricsServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The reloader's parent process has run the same program, and has the port."""
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    with caplog.at_level("WARNING", "promweb"):
        other = metrics.start_http_server(server.port, HOST)
    try:
        assert other.port != server.port
        assert ask(other)[0] == 200
        assert other.url in caplog.text
    finally:
        other.close()


def test_ipv6_address(metrics: Any) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 here")
    server = metrics.start_http_server(0, "::1")
    try:
        assert server.url == f"http://[::1]:{server.port}/metrics"
        assert ask(server, host="::1")[0] == 200
    finally:
        server.close()


# --- clients that misbehave ---------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nHost:"], ids=["silent", "half"])
def test_stalled_client_blocks_nobody(server: MetricsServer, sent: bytes) -> None:
    with socket.create_connection((HOST, server.port)) as stalled:
        stalled.sendall(sent)
        assert [ask(server)[0] for _ in range(3)] == [200] * 3


def test_nonsense_is_answered_and_forgotten(
    server: MetricsServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection((HOST, server.port), timeout=DEADLINE) as client:
        client.sendall(b"\x16\x03\x01\x00 nonsense\r\n\r\n")
        while client.recv(4096):
            pass
    assert ask(server)[0] == 200
    assert capfd.readouterr() == ("", "")


# --- TLS ----------------------------------------------------------------------------------------


def test_tls(shared: Leg, tls_server: MetricsServer, trusting: ssl.SSLContext) -> None:
    assert tls_server.url == f"https://{HOST}:{tls_server.port}/metrics"
    status, body, _ = ask(tls_server, context=trusting)
    assert (status, body) == (200, generate_latest(shared.registry))
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(tls_server, context=ssl.create_default_context())


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02"], ids=["silent", "half a handshake"])
def test_tls_client_that_stalls_blocks_nobody(
    tls_server: MetricsServer, trusting: ssl.SSLContext, sent: bytes
) -> None:
    with socket.create_connection((HOST, tls_server.port)) as stalled:
        stalled.sendall(sent)
        assert [ask(tls_server, context=trusting)[0] for _ in range(3)] == [200] * 3


def test_client_without_tls_gets_nothing_and_blocks_nobody(
    tls_server: MetricsServer, trusting: ssl.SSLContext, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection((HOST, tls_server.port), timeout=DEADLINE) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        received = b""
        try:
            while chunk := client.recv(4096):
                received += chunk
        except ConnectionResetError:
            pass
        assert b"jobs_total" not in received
        assert ask(tls_server, context=trusting)[0] == 200
    assert capfd.readouterr() == ("", "")


def test_tls_server_closes_with_a_stalled_client(metrics: Any, paths: dict[str, str]) -> None:
    server = metrics.start_http_server(0, HOST, ssl=paths)
    with socket.create_connection((HOST, server.port)):
        server.close()


@pytest.mark.parametrize(
    ("given", "missing"), [(["cert"], "['key']"), (["key"], "['cert']"), ([], "['cert', 'key']")]
)
def test_missing_tls_paths_are_named(
    metrics: Any, paths: dict[str, str], given: list[str], missing: str
) -> None:
    with pytest.raises(ValueError, match="ssl") as caught:
        metrics.start_http_server(0, HOST, ssl={name: paths[name] for name in given})
    assert missing in str(caught.value)
    assert "ssl={'cert': 'path', 'key': 'path'}" in str(caught.value)
