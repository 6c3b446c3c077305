"""The documents are true: their code runs and prints what they say, their lists are complete."""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
import quart
from prometheus_client import Gauge
from prometheus_client.metrics_core import Metric

import promweb
from promweb import AsyncPrometheusMetrics, PrometheusMetrics
from promweb.core.defaults.http import promweb_naming
from promweb.core.options import Options
from promweb.scrapes.tally import Tally
from promweb.testing import NativeHistogram, isolated_registry, native_histogram
from tests.support.asgi import Browser, Socket
from tests.support.documents import BLOCK, DOCUMENTS, ROOT, Reader, blocks
from tests.support.legs import LEGS
from tests.support.programs.differences import DIFFERENCES

trustme = pytest.importorskip("trustme")  # has no wheel without the GIL

README = (ROOT / "README.md").read_text()


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


LANGUAGES = {"python", "console", "text", "sh", "diff", "yaml", "promql", ""}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_code_of_a_document_runs_and_prints_what_it_says(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The examples of TLS read these files.
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    # An example adds a handler.
    monkeypatch.setattr(logging.getLogger("promweb"), "handlers", [])
    text = (ROOT / document).read_text()
    if '="mostrecent"' in text and "mostrecent" not in Gauge._MULTIPROC_MODES:
        pytest.skip("prometheus_client before 0.17 has no such mode")
    with Reader(tmp_path, monkeypatch) as reader:
        reader.read(document, text)


def test_no_block_of_a_document_is_forgotten() -> None:
    for document in DOCUMENTS:
        text = (ROOT / document).read_text()
        found = list(BLOCK.finditer(text))
        assert text.count("```") == 2 * len(found), document
        # A block in any other language would not be executed.
        assert {block["language"] for block in found} <= LANGUAGES, document
        # The site's Markdown takes less for no part of the list item.
        assert not re.search(r"^ {1,3}(\*|```)", text, re.MULTILINE), document
        not_executed = [block for block in found if block["reason"]]
        assert len(not_executed) == text.count("\n<!-- not executed"), document
    assert sum(1 for document in DOCUMENTS for _ in blocks((ROOT / document).read_text())) > 100


def test_examples_with_variable_routes_choose_a_group() -> None:
    """The default has a series for each path, which nobody should copy from here."""
    for document in DOCUMENTS:
        for block in blocks((ROOT / document).read_text()):
            if re.search(r"""(?:route|get|post|rule)\(f?"[^"\n]*<""", block.code):
                made = re.findall(
                    r"^\w+ = (?:Async)?PrometheusMetrics\((?:[^()]|\([^()]*\))*\).*",
                    block.code,
                    re.MULTILINE,
                )
                without = [call for call in made if not re.search("group_by|export|naming", call)]
                assert not without, (document, block.line)


def test_the_list_of_deliberate_differences_is_complete() -> None:
    listed = page("differences.md").partition("<!-- differences")[2]
    listed = listed.partition("<!-- end of differences -->")[0]
    sentences = [" ".join(item.split()) for item in re.split(r"^\* ", listed, flags=re.M)[1:]]
    assert sentences == [known.sentence for known in DIFFERENCES]


@pytest.mark.parametrize("metrics_class", [PrometheusMetrics, AsyncPrometheusMetrics])
def test_every_constructor_argument_is_listed_with_its_default(metrics_class: type) -> None:
    table = page("configuration.md").partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", table, re.MULTILINE)
    assert [
        (name, ast.literal_eval(default) if default else inspect.Parameter.empty)
        for name, default in rows
    ] == [
        (parameter.name, parameter.default)
        for parameter in inspect.signature(metrics_class).parameters.values()
    ]


@pytest.fixture
def oldest() -> dict[str, str]:
    """Return the lower bounds that pyproject.toml has."""
    project = (ROOT / "pyproject.toml").read_text()
    bounds = re.findall(r'"(flask|quart|prometheus-client)>=([\d.]+)[",]', project)
    bounds += re.findall(r'requires-(python) = ">=([\d.]+)"', project)
    return dict(reversed(bounds))  # the first is what promweb asks for, others are tests'


def test_readme_takes_its_figures_from_the_page_that_it_names() -> None:
    """A figure that changes there changes here."""
    listed = README.partition("\n## What you get\n")[2].partition("\n## ")[0]
    points = re.split(r"^\* ", listed, flags=re.MULTILINE)[1:]
    found = 0
    for point in points:
        ((name),) = re.findall(r"\]\(docs/(.*?)\)", point)
        text = " ".join(page(name).split())
        for figure in re.findall(r"\*\*(.*?)\*\*", " ".join(point.split())):
            found += 1
            assert re.search(rf"(?<![\w.]){re.escape(figure)}(?![\w.]*\d)", text), (name, figure)
    assert found > 8


def test_errors_of_quantiles_are_those_of_the_page() -> None:
    table = page("native-histograms.md").partition("\n## ")[0]
    rows = re.findall(r"^\| p([\d.]+) \| (.*?)(?: off)? \| (.*?) \|", table, re.MULTILINE)
    normal = [NormalDist().inv_cdf((number + 0.5) / 20_000) for number in range(20_000)]
    spreads = [(median, sigma) for median in (0.02, 0.05, 0.1, 0.3) for sigma in (0.5, 0.8, 1)]
    errors: dict[str, list[tuple[float, ...]]] = {percent: [] for percent, *_ in rows}
    for median, sigma in spreads:
        durations = [median * math.exp(sigma * number) for number in normal]
        native, classic = observed(durations)
        for percent, found in errors.items():
            share = float(percent) / 100
            true = durations[round(share * len(durations)) - 1]
            estimates = (classic.quantile(share), native.quantile(share))
            found.append(tuple(abs(100 * (one or 0) / true - 100) for one in estimates))
    assert len(rows) == 3
    for percent, *shown in rows:
        for figures, said in zip(zip(*errors[percent], strict=True), shown, strict=True):
            digits = 1 if "." in said else 0
            least, most = (f"{pick(figures):.{digits}f}" for pick in (min, max))
            assert said in (f"{most} %", f"up to {most} %", f"{least} to {most} %"), percent


def observed(durations: Sequence[float]) -> tuple[NativeHistogram, Tally]:
    """Return what a histogram with native buckets and one with the default buckets know."""
    with isolated_registry() as registry:
        metrics = PrometheusMetrics.for_app_factory()
        histogram = metrics.histogram("work_seconds", "Work", native_histograms=True)
        for duration in durations:
            histogram.observe(duration)
        (metric,) = registry.collect()
        buckets = {
            float(sample.labels["le"]): sample.value
            for sample in metric.samples
            if sample.name.endswith("_bucket")
        }
        return native_histogram("work_seconds"), Tally(len(durations), buckets=buckets)


def test_equal_durations_are_as_far_off_as_the_page_says() -> None:
    native, _ = observed([0.3] * 1000)
    assert f"a\np99 of {native.quantile(0.99):.3f} s, 8 % more" in page("native-histograms.md")


def test_readme_shows_a_scrape() -> None:
    leg = LEGS["flask-sync"]()
    app = leg.make_app()
    leg.make_metrics(app, group_by="url_rule")

    @app.get("/items/<int:number>")
    def item(number: int) -> str:
        leg.clock.advance(number / 16)
        return "an item"

    @app.post("/orders")
    def order() -> str:
        raise RuntimeError

    app.config["PROPAGATE_EXCEPTIONS"] = False
    for number in (1, 1, 4):
        leg.get(app, f"/items/{number}")
    app.test_client().post("/orders")
    shown = README.partition("```text\n")[2].partition("```")[0].splitlines()
    scrape = leg.get(app, "/metrics").text.splitlines()
    assert len(shown) == 7
    assert [line for line in scrape if line in shown] == shown


def test_readme_names_the_oldest_versions(oldest: dict[str, str]) -> None:
    assert (
        f"Python {oldest['python']}, Flask {oldest['flask']}, Quart {oldest['quart']} and "
        f"prometheus_client {oldest['prometheus-client']}, or newer."
    ) in README


def test_the_policy_has_the_oldest_versions(oldest: dict[str, str]) -> None:
    table = (ROOT / "docs/policy.md").read_text().partition("## Supported versions")[2]
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \|", table, re.MULTILINE)
    assert {name.lower().replace("_", "-"): bound for name, bound in rows} == oldest


def test_the_reference_has_every_public_name() -> None:
    reference = (ROOT / "docs/reference.md").read_text()
    listed = set(re.findall(r"^(?:::: |### `)([\w.]+)", reference, re.MULTILINE))
    modules = {"labels", "multiprocess", "security", "server", "testing"}
    names = {*promweb.__all__, *modules} - {"__version__"}
    assert {f"promweb.{name}" for name in names} <= listed


def default_families(**options: Any) -> dict[str, Metric]:
    """Return all default families by name, after a request and a websocket."""
    leg = LEGS["quart-async"]()
    app = leg.make_app()
    sizes = {"in_progress": True, "request_size": True, "response_size": True}
    leg.make_metrics(app, **{**sizes, **options})

    @app.websocket("/")
    async def greet() -> None:
        await quart.websocket.send("hello")

    async def visit() -> None:
        await Browser(app, "/nowhere").start().over()
        socket = Socket(app).start()
        await socket.accepted()
        assert await socket.heard() == "hello"
        await socket.over()

    asyncio.run(visit())
    return {
        metric.name + ("_total" if metric.type == "counter" else ""): metric
        for metric in leg.registry.collect()
    }


def test_every_default_family_is_listed() -> None:
    named = dict(re.findall(r"^\| `(flask_\w+)`[^|]*\| (\w+)", page("metrics.md"), re.MULTILINE))
    opt_in = {row.option: True for row in promweb_naming(Options()).rows if row.option}
    around = dict.fromkeys(("queue_time", "event_loop", "threads", "background_tasks"), True)
    found = default_families(**{**opt_in, **around})
    assert named == {name: metric.type for name, metric in found.items()}


def test_every_family_and_label_of_the_conventions_is_listed() -> None:
    section = page("metrics.md").partition("## OpenTelemetry's names")[2].partition("\n## ")[0]
    named = dict(re.findall(r"^\| `(http_server_\w+)` \| (\w+)", section, re.MULTILINE))
    found = default_families(naming="otel")
    assert named == {
        name: metric.type for name, metric in found.items() if name.startswith("http_")
    }
    labels = re.findall(r"^\| `(\w+)` \| [^|]*\|$", section, re.MULTILINE)
    recorded = found["http_server_request_duration_seconds"].samples[0].labels
    assert set(labels) == recorded.keys() - {"le"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / document).read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / document).parent / path if path else ROOT / document
        assert found.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert anchor in {_anchor(title) for title in titles}, target


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_reliability_names_tests_and_commands_that_exist() -> None:
    text = (ROOT / "docs/reliability.md").read_text()
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 30
    for file, function in named:
        tree = ast.parse((ROOT / "tests" / file).read_text())
        there = {getattr(node, "name", "") for node in tree.body}
        assert not function or function in there, f"{file}::{function}"
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)", text):
        assert f"\n{target}: " in makefile, target
