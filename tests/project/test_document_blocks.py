"""Blocks of documents that nothing runs say what is there: YAML, and commands for shells."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
from itertools import takewhile
from pathlib import Path
from textwrap import dedent

import click
import pytest
import yaml

from promweb.tools.cli.group import cli
from tests.support.documents import BLOCK, DOCUMENTS, ROOT
from tests.support.needs import module


def blocks_of(language: str, document: str) -> list[str]:
    found = BLOCK.finditer((ROOT / document).read_text())
    return [dedent(block["code"]) for block in found if block["language"] == language]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_of_yaml_are_yaml(document: str) -> None:
    for text in blocks_of("yaml", document):
        assert all(isinstance(part, (dict, list)) for part in yaml.safe_load_all(text)), text


@pytest.mark.parametrize("document", DOCUMENTS)
def test_queries_are_promql(document: str) -> None:
    """Those of panels have a variable of Grafana as their window."""
    promql_parser = pytest.importorskip("promql_parser")
    queries = [query.replace("$__rate_interval", "5m") for query in blocks_of("promql", document)]
    for block in blocks_of("yaml", document):
        for part in yaml.safe_load_all(block):
            if isinstance(part, dict):
                for group in part.get("groups", ()):
                    queries += [rule["expr"] for rule in group["rules"]]
    for query in queries:
        promql_parser.parse(query)  # raises ValueError


@pytest.mark.parametrize("document", ["docs/deployment.md", "docs/kubernetes.md"])
def test_kubernetes_finds_what_the_application_has(document: str) -> None:
    """Ports, labels, secrets and paths are the same wherever they are named."""
    text = (ROOT / document).read_text()
    parts = [part for block in blocks_of("yaml", document) for part in yaml.safe_load_all(block)]
    made = {part["kind"]: part for part in parts if isinstance(part, dict) and "kind" in part}
    pod = made["Deployment"]["spec"]["template"]
    container = pod["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    labels = pod["metadata"]["labels"]
    assert made["Deployment"]["spec"]["selector"]["matchLabels"] == labels

    for probe in ("livenessProbe", "readinessProbe"):
        path, port = container[probe]["httpGet"].values()
        assert port in ports
        assert f'@app.{"get" if "app.get" in text else "route"}("{path}")' in text
        assert f'"^{path}$"' in text or "do_not_track" in text

    monitor = made.get("ServiceMonitor") or made["PodMonitor"]
    endpoint = (monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"])[0]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert endpoint["path"] == "/metrics"
    if "Service" in made:
        service = made["Service"]
        assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
        assert service["spec"]["selector"] == labels
        (port,) = service["spec"]["ports"]
        assert endpoint["port"] == port["name"]
        assert port["targetPort"] in ports
        (key,) = made["Secret"]["stringData"]
        secret = {"name": made["Secret"]["metadata"]["name"], "key": key}
        assert endpoint["authorization"]["credentials"] == secret
        environ = {entry["name"]: entry for entry in container["env"]}
        assert environ["METRICS_TOKEN"]["valueFrom"]["secretKeyRef"] == secret
        assert f"0.0.0.0:{ports['http']}" in container["args"]
        directory = environ["PROMETHEUS_MULTIPROC_DIR"]["value"]
        assert directory in {mount["mountPath"] for mount in container["volumeMounts"]}
    else:
        assert f"start_http_server({ports[endpoint['port']]})" in text


def test_commands_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make` has the targets, `promweb` the commands and options, the package the extras."""
    module("promql_parser")
    files = {
        "before.txt": "",
        "requests.txt": "",
        "dashboard.json": '{"panels": [{"targets": [{"expr": "up"}]}]}',
    }
    files["access.log"] = ""
    files["rules.yml"] = "groups: [{name: shop, rules: [{record: a, expr: b}]}]"
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    monkeypatch.chdir(tmp_path)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = importlib.metadata.metadata("promweb").get_all("Provides-Extra") or []
    for document in DOCUMENTS:
        for line in "".join(blocks_of("sh", document)).splitlines():
            words = shlex.split(line, comments=True)
            words = [*takewhile(lambda word: word not in (">", "|"), words)]
            for asked in re.findall(r"promweb\[([\w,]+)\]", line):
                assert set(asked.split(",")) <= set(extras), line
            if words[:1] == ["make"]:
                assert {word for word in words[1:] if "=" not in word} <= set(targets), line
            elif "promweb" in words:
                name, *arguments = words[words.index("promweb") + 1 :]
                if name != "--help":
                    command = cli.get_command(click.Context(cli), name)
                    assert command is not None, line
                    command.make_context(name, arguments).close()
