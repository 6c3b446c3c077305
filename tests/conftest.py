"""Fixtures shared by all tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

from tests.support.legs import LEGS, Leg
from tests.support.needs import program
from tests.support.prometheus import PROGRAMS
from tests.support.running import unmeasured

# The same examples in every run, and no limits of time.
settings.register_profile(
    "fixed",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fixed")


MARKERS = {
    "browser": ["live/test_page.py"],
    "servers": [
        "multiprocess/test_containers.py",
        "server/test_proxies.py",
        "multiprocess/test_ports.py",
        "multiprocess/test_servers.py",
        "multiprocess/test_start_up.py",
        "project/test_fleet.py",
        "project/test_native_prometheus.py",
        "project/test_prometheus.py",
        "quart/test_endings.py",
        "tools/test_monitoring_prometheus.py",
        "tools/test_top.py",
    ],
    "slow": [
        "behaviour/test_bounds.py::test_sixteen_threads",
        "behaviour/test_bounds.py::test_twenty_thousand_paths",
        "behaviour/test_protobuf.py::test_any_family",
        "behaviour/test_rendering.py::test_any_family",
        "multiprocess/test_bounds.py::test_restarts",
        "multiprocess/test_compaction.py::test_a_compaction_that_is_killed",
        "multiprocess/test_files.py::test_no_reader_sees_half",
        "multiprocess/test_native.py::test_a_compaction_that_is_killed",
        "project/test_benchmarks.py",
        "project/test_comparison.py",
        "quart/test_blame.py::*on uvloop",
        "quart/test_servers.py::*on uvloop",
        "stress/",
        "tools/test_diff_used.py::test_prometheus_answers",
        "tools/test_monitoring.py::test_alerts_fire",
        "tools/test_options.py::test_a_job_that_vanishes",
        "tools/test_testing.py::test_the_sample_project",
        "tools/test_testing.py::test_a_program_may_import",
    ],
    "unmeasured": [
        "behaviour/test_bounds.py::test_sixteen_threads",
        "behaviour/test_bounds.py::test_twenty_thousand_paths",
        "behaviour/test_concurrency.py",
        "behaviour/test_protobuf.py::test_any_family",
        "behaviour/test_rendering.py::test_any_family",
        "multiprocess/test_bounds.py::test_restarts",
        "multiprocess/test_compaction.py::test_a_compaction_that_is_killed",
        "multiprocess/test_native.py::test_a_compaction_that_is_killed",
        "project/test_benchmarks.py",
        "project/test_comparison.py",
        "project/test_documents.py::test_the_code_of_a_document",
        "project/test_native_prometheus.py",
        "project/test_words.py",
        "stress/attacks",
        "stress/model",
        "tools/test_monitoring.py::test_alerts_fire",
        "tools/test_top_numbers.py::test_safe_text",
    ],
}
"""Which tests have which markers, by how their names begin; pyproject.toml says what they mean."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = item.nodeid.removeprefix("tests/")
        for marker, patterns in MARKERS.items():
            if any(fnmatchcase(name, f"{pattern}*") for pattern in patterns):
                item.add_marker(marker)
    # Long files first, then those with many tests: what is run last is short, and no process of
    # pytest-xdist waits long for the others. Tests of a file stay together.
    tests = Counter(item.path for item in items)
    long = {item.path for item in items if takes_long(item)}
    items.sort(key=lambda item: (item.path not in long, -tests[item.path]))


def takes_long(item: pytest.Item) -> bool:
    """Tell whether a test has any of the markers."""
    return any(item.get_closest_marker(marker) for marker in MARKERS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure no coverage where that takes long: other tests reach the same lines."""
    if item.get_closest_marker("unmeasured") is None:
        return (yield)
    with unmeasured():
        return (yield)


@pytest.fixture(params=LEGS)
def leg(request: pytest.FixtureRequest) -> Leg:
    """Run the test once per framework and kind of view."""
    return LEGS[request.param]()


@pytest.fixture
def app(leg: Leg) -> Any:
    """Return an application that counts requests in progress as well."""
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)
    return app


@pytest.fixture(scope="module", params=PROGRAMS, ids=["installed", "forky"][: len(PROGRAMS)])
def prometheus_program(request: pytest.FixtureRequest) -> str:
    """Run the test with each Prometheus that is there."""
    return program(request.param)


@pytest.fixture
def unshared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Act like a prometheus_client that was imported without the variable."""
    for variable in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        monkeypatch.setenv(variable, "")  # so that what a test sets is gone after it
        monkeypatch.delenv(variable)
    monkeypatch.setattr(values, "ValueClass", values.MutexValue)
    monkeypatch.setattr(values, "MmapedDict", MmapedDict)
    yield
    _kept.append(values.ValueClass)


_kept: list[object] = []
"""prometheus_client does not close its files."""


@pytest.fixture
def shared(tmp_path: Path, unshared: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Turn multiprocess mode on for this test; return the directory."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    # prometheus_client, which many tests compare with, has none in multiprocess mode.
    monkeypatch.setenv("PROMWEB_PROCESS_METRICS", "0")
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())
    return tmp_path
