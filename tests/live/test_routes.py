"""The live page as the application serves it: routes, headers, protection, the package's files."""

from __future__ import annotations

import inspect
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from promweb.core.defaults.vocabulary import VOCABULARIES
from tests.support.legs import LEGS, Leg, Reply
from tests.support.paths import ROOT
from tests.support.running import python, run

STATIC = ROOT / "promweb/live/static"
LIVE = "/metrics/live"


def file(leg: Leg, app: Any, name: str, path: str = LIVE, **kwargs: Any) -> Reply:
    return leg.get(app, f"{path}?file={name}", **kwargs)


def linked(page: str) -> list[str]:
    """Return the files that a page, or a script of it, loads."""
    return re.findall(r'"\?file=([\w.]+)"|\bfile\("([\w.]+)"\)', page)


def test_the_page_and_all_that_it_loads_are_served(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app).register_dashboard(LIVE)
    page = leg.get(app, LIVE)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    texts = [page.text, *(file(leg, app, name).text for name in ("live.js", "scrape.js"))]
    names = {name for text in texts for found in linked(text) for name in found if name}
    # The licence is for readers of the package; browsers ask for `scrape` by another function.
    there = {path.name for path in STATIC.iterdir()} - {"page.html", "uPlot.LICENSE"}
    assert names - {"scrape", "vocabulary.js"} == there
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for name in there:
        reply = file(leg, app, name)
        assert (reply.status, reply.data) == (200, (STATIC / name).read_bytes())
        expected = f"{types[Path(name).suffix]}; charset=utf-8"
        assert reply.headers["Content-Type"] == expected
    made = file(leg, app, "vocabulary.js")
    assert made.headers["Content-Type"] == "text/javascript; charset=utf-8"
    sent = json.loads(made.text.removeprefix("export const VOCABULARIES = ").rstrip(";\n"))
    assert sent == [vocabulary._asdict() for vocabulary in VOCABULARIES]


def test_nothing_may_be_loaded_from_elsewhere_or_inline(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app).register_dashboard(LIVE)
    for path in (LIVE, f"{LIVE}?file=live.js", f"{LIVE}?file=unknown"):
        headers = leg.get(app, path).headers
        policy = dict(
            rule.split(maxsplit=1) for rule in headers["Content-Security-Policy"].split("; ")
        )
        loads = ("script-src", "style-src", "img-src", "connect-src")
        forbids = ("default-src", "base-uri", "form-action", "frame-ancestors")
        assert policy == {**dict.fromkeys(loads, "'self'"), **dict.fromkeys(forbids, "'none'")}
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-cache"
        assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("name", ["", "unknown.js", "uPlot.LICENSE", "../files.py", "page.html/.."])
def test_other_files_are_not_served(leg: Leg, name: str) -> None:
    app = leg.make_app()
    leg.make_metrics(app).register_dashboard(LIVE)
    reply = file(leg, app, name)
    assert (reply.status, reply.text) == (404, "The live page has no such file.\n")


@pytest.mark.parametrize("path", ["/metrics", None])
def test_it_answers_scrapes_like_a_metrics_endpoint_and_needs_none(
    leg: Leg, path: str | None
) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, path=path)
    metrics.register_dashboard(LIVE)
    leg.get(app, "/nowhere")
    reply = file(leg, app, "scrape")
    assert reply.text == metrics.generate_metrics()[0]
    assert 'flask_http_request_total{method="GET",status="404"} 1.0\n' in reply.text
    packed = file(
        leg, app, "scrape&name[]=flask_exporter_info", headers={"Accept-Encoding": "gzip"}
    )
    assert packed.headers["Content-Encoding"] == "gzip"


def test_it_is_in_no_metric(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    metrics.register_default(metrics.counter("calls", "Calls."))
    metrics.register_dashboard(LIVE)
    for query in ("", "?file=live.js", "?file=scrape", "?file=unknown"):
        leg.get(app, LIVE + query)
    assert leg.label_sets("flask_http_request_total") == []
    assert leg.value("calls_total") == 0
    assert leg.label_sets("flask_http_requests_in_progress") == []


def test_metrics_decorator_protects_all_of_it(leg: Leg) -> None:
    app = leg.make_app()

    def check() -> None:
        if leg.web.request.headers.get("Authorization") != "secret":
            leg.web.abort(401)

    def protect(view: Callable[[], Any]) -> Callable[[], Any]:
        if inspect.iscoroutinefunction(view):

            async def protected() -> Any:
                check()
                return await view()

        else:

            def protected() -> Any:
                check()
                return view()

        return protected

    leg.make_metrics(app, metrics_decorator=protect).register_dashboard(LIVE)
    for query in ("", "?file=live.js", "?file=scrape"):
        assert leg.get(app, LIVE + query).status == 401
        assert leg.get(app, LIVE + query, headers={"Authorization": "secret"}).status == 200


def test_it_is_registered_once_and_collides_loudly(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    metrics.register_dashboard(LIVE)
    metrics.register_dashboard(LIVE)
    assert len([rule for rule in app.url_map.iter_rules() if rule.rule == LIVE]) == 1
    with pytest.raises(ValueError, match=r"'/metrics' .* serves the metrics of this registry"):
        metrics.register_dashboard("/metrics")
    with pytest.raises(ValueError, match=r"live' .* serves the dashboard of this registry"):
        metrics.register_endpoint(LIVE)
    other = leg.make_metrics(app, path="/other", registry=CollectorRegistry())
    with pytest.raises(ValueError, match=r"live' .* serves the dashboard of another registry"):
        other.register_dashboard(LIVE)
    other.register_dashboard("/other/live")
    assert leg.get(app, "/other/live").status == 200


def test_it_may_be_registered_for_one_application_of_a_factory(leg: Leg) -> None:
    metrics = leg.make_metrics(None)
    app, other = leg.make_app(), leg.make_app()
    metrics.init_app(app)
    metrics.init_app(other)
    metrics.register_dashboard(LIVE, app)
    assert leg.get(app, LIVE).status == 200
    assert leg.get(other, LIVE).status == 404
    with pytest.raises(RuntimeError, match="there is no application"):
        metrics.register_dashboard(LIVE)


def test_it_is_there_on_every_host(leg: Leg) -> None:
    app = leg.make_app(host_matching=True, static_host="shop.test")
    leg.make_metrics(app).register_dashboard(LIVE)
    assert leg.get(app, LIVE, headers={"Host": "any.test"}).status == 200
    assert file(leg, app, "live.js", headers={"Host": "any.test"}).status == 200


def test_a_mounted_application_serves_it() -> None:
    leg = LEGS["flask-sync"]()
    app = leg.make_app()
    leg.make_metrics(app).register_dashboard(LIVE)
    client = Client(DispatcherMiddleware(leg.make_app(), {"/shop": app}))
    page = client.get("/shop" + LIVE)
    assert page.status_code == 200
    assert "?file=live.js" in page.text
    assert client.get(f"/shop{LIVE}?file=live.js").status_code == 200


def test_it_is_loaded_when_it_is_used() -> None:
    program = """
import sys
from flask import Flask
from promweb import PrometheusMetrics

metrics = PrometheusMetrics(Flask("shop"))
assert not [name for name in sys.modules if name.startswith("promweb.live")]
metrics.register_dashboard("/live")
assert "promweb.live.files" in sys.modules
"""
    python(program, check=True)


def test_the_distributions_have_its_files(tmp_path: Path) -> None:
    run([sys.executable, "-m", "hatchling", "build", "-d", tmp_path], check=True)
    expected = {f"promweb/live/static/{path.name}" for path in STATIC.iterdir()}
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert expected <= names
        (licence,) = (name for name in names if name.endswith("/licenses/LICENSE"))
        assert licence.replace("LICENSE", "promweb/live/static/uPlot.LICENSE") in names
    (source,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        assert expected <= names
