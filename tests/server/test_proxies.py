"""Queue time behind real proxies: how long clients waited until the application was called."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.needs import PATH, module, program
from tests.support.paths import ROOT
from tests.support.running import without
from tests.support.servers import free_port
from tests.support.waiting import DEADLINE, eventually

CLIENTS = 6

NGINX = """
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{front};
        location / {{
            proxy_pass http://127.0.0.1:{back};
            proxy_set_header X-Request-Start "t=${{msec}}";
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend front
    bind 127.0.0.1:{front}
    http-request set-header X-Request-Start t=%[date(0,us)]
    default_backend back
backend back
    server one 127.0.0.1:{back}
"""

ENVOY = """
static_resources:
  listeners:
  - address:
      socket_address: {{address: 127.0.0.1, port_value: {front}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": "{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager"
          stat_prefix: front
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": "{extensions}.filters.http.router.v3.Router"}}
          route_config:
            request_headers_to_add:
            - header: {{key: X-Request-Start, value: "t=%START_TIME(%s.%3f)%"}}
              append_action: OVERWRITE_IF_EXISTS_OR_ADD
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: back, timeout: 60s}}
  clusters:
  - name: back
    connect_timeout: 10s
    load_assignment:
      cluster_name: back
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address: {{address: 127.0.0.1, port_value: {back}}}
"""
EXTENSIONS = "type.googleapis.com/envoy.extensions"

PROXIES = {
    "envoy": (ENVOY, "envoy --config-path {config} --concurrency 1 --disable-hot-restart"),
    "nginx": (NGINX, "nginx -c {config}"),
    "haproxy": (HAPROXY, "haproxy -f {config}"),
}

APP = "tests.support.queueing:app"
SERVERS = {
    "gthread": "gunicorn --threads 2 --bind 127.0.0.1:{port} " + APP,
    "sync": "gunicorn --bind 127.0.0.1:{port} " + APP,
    "waitress": "waitress-serve --listen 127.0.0.1:{port} --threads 2 " + APP,
    "uvicorn": "uvicorn --port {port} --log-level warning " + APP,
    "hypercorn": "hypercorn --bind 127.0.0.1:{port} " + APP,
}
PACKAGES = {"gthread": "gunicorn", "sync": "gunicorn"}


@contextmanager
def running(command: Sequence[str], log: Path, **environment: str) -> Iterator[None]:
    inherited = {**without("COVERAGE", "PROMETHEUS_MULTIPROC_DIR"), "PATH": PATH}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**inherited, "PYTHONPATH": str(ROOT), **environment},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def values(port: int) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE) as response:
        text = response.read().decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def is_served(port: int) -> bool:
    with suppress(OSError):
        return bool(values(port))
    return False


@pytest.mark.parametrize(
    ("proxy", "server"),
    [*(("nginx", server) for server in SERVERS), ("haproxy", "gthread"), ("envoy", "uvicorn")],
)
def test_queue_time_is_what_clients_waited(proxy: str, server: str, tmp_path: Path) -> None:
    module(PACKAGES.get(server, server))
    front, back = free_port(), free_port()
    text, command = PROXIES[proxy]
    config = tmp_path / ("proxy.yaml" if proxy == "envoy" else "proxy.conf")
    filled = text.format(front=front, back=back, directory=tmp_path, extensions=EXTENSIONS)
    config.write_text(filled)
    started = command.format(config=config).split()
    started[0] = program(started[0])
    serve = [
        f"{sys.prefix}/bin/{part}" if not n else part
        for n, part in enumerate(SERVERS[server].format(port=back).split())
    ]
    asgi = "1" if server in ("uvicorn", "hypercorn") else ""

    def ask(_: int) -> float:
        began = time.time()
        with urlopen(f"http://127.0.0.1:{front}/", timeout=DEADLINE) as response:
            return float(response.read()) - began

    with (
        running(serve, tmp_path / "server.log", ASGI=asgi, MARKS=str(tmp_path)),
        running(started, tmp_path / "proxy.log"),
    ):
        eventually(lambda: is_served(front))
        with ThreadPoolExecutor(CLIENTS) as clients:
            first = clients.submit(ask, 0)
            eventually((tmp_path / "begun").exists)
            others = [clients.submit(ask, number) for number in range(1, CLIENTS)]
            time.sleep(0.5)  # that long they wait
            (tmp_path / "go").touch()
            computed = sum(done.result() for done in (first, *others))
        found = values(back)
    waited = found["flask_http_request_queue_seconds_sum"]
    print(f"{proxy} {server}: waited {waited:.2f} s, computed {computed:.2f} s")
    assert found["flask_http_request_queue_seconds_count"] == CLIENTS
    assert computed > 0.5  # somebody waited
    assert waited == pytest.approx(computed, rel=0.1)
