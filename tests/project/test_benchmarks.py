"""The benchmarks run and print their rows. No test judges their measurements."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path

import pytest

from benchmarks import e2e, harness, instructions, requests, worker_files
from benchmarks.__main__ import MORE, TABLES, main, summary
from benchmarks.harness import BARE, NULL, Effort, Table, Variant, compare, timed
from tests.support.needs import program

QUICK = Effort(quick=True)


def rows(table: Table) -> dict[str, tuple[str, ...]]:
    return {row[0]: row for row in table.rows if row[0]}


@pytest.mark.parametrize("name", ["flask", "decorators", "workers", "quart"])
def test_a_table_of_requests_has_bare_the_null_control_and_promweb(name: str) -> None:
    for table in islice(TABLES[name](QUICK), 2):
        there = rows(table)
        assert list(there)[:3] == [BARE, NULL, "promweb"]
        assert all(row[1].endswith(" µs") for row in there.values())
        assert table.null_control == there[NULL][2]
        verdicts = [row[-1] for row in table.rows if row[-1]]
        assert verdicts == [goal.verdict for goal in table.goals]
        assert verdicts
        assert set(verdicts) <= {"held", "MISSED", "not measured"}


def test_requests_are_compared_in_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "PROCESSES", 2)
    monkeypatch.setattr(harness, "SECONDS", 0.01)
    table = timed(requests.FLASK_DEFAULTS, Effort(), batch=3)
    assert list(rows(table))[:3] == [BARE, NULL, "promweb"]
    assert bounds(table) == ["<= 0.2", "<= 12 %"]


def first_words(table: Table) -> list[str]:
    return [re.split("[ ,']", name)[0] for name in rows(table)]


def bounds(table: Table) -> list[str]:
    return [goal.bound for goal in table.goals]


def test_a_table_of_scrapes_has_promweb_warm_and_cold_beside_prometheus_client() -> None:
    table = next(iter(TABLES["scrape"](QUICK)))
    assert first_words(table) == ["prometheus_client", *["promweb"] * 3]
    assert bounds(table) == [">= 18x", ">= 6x"]


def test_the_tables_of_protobuf_have_text_and_googles_runtime_beside_it() -> None:
    scrapes, flushes, memory, workers = TABLES["native"](QUICK)
    names = list(rows(scrapes))
    assert names[:2] == ["classic, text", "classic, protobuf"]
    assert sum("runtime" in name for name in names) == 2
    assert list(rows(flushes))[:2] == [BARE, NULL]
    assert list(rows(memory)) == list(rows(workers)) == ["classic", "native", "both"]
    assert all(row[1].endswith(" ns") for row in rows(flushes).values())


def test_the_table_of_many_workers_has_promweb_warm_and_cold_beside_prometheus_client() -> None:
    table = worker_files.scrape(QUICK)
    assert first_words(table) == ["prometheus_client", *["promweb"] * 2]
    assert bounds(table) == [">= 15x", ">= 5x"]


def test_the_table_of_the_event_loop_has_promweb_beside_no_scrape() -> None:
    (table,) = TABLES["lag"](QUICK)
    assert first_words(table) == ["no", "promweb", "promweb", "prometheus_client"]
    assert bounds(table) == ["<= 10 ms", "<= 25 ms"] * 2


def test_the_table_of_memory_has_promweb_beside_prometheus_client() -> None:
    (table,) = TABLES["memory"](QUICK)
    assert first_words(table) == [*["prometheus_client"] * 2, *["promweb"] * 4]
    assert bounds(table) == ["<= 0.4"] * 4


def test_the_table_of_instruments_has_each_call_beside_prometheus_clients() -> None:
    (table,) = TABLES["instruments"](QUICK)
    calls = ["inc()", "inc() of a kept child", "inc(kind=...)", "time()", "time(query=...)"]
    sides = [f"{side}, {call}" for call in calls for side in ("promweb", "prometheus_client")]
    assert list(rows(table)) == [BARE, NULL, *sides]
    assert bounds(table) == ["<= 0.7", "<= 0.7", "<= 0.3", "<= 0.5", "<= 0.5"]


def test_the_tables_of_insight_have_goals() -> None:
    *compared, beat = TABLES["insight"](QUICK)
    assert len(compared) == 4
    for table in compared:
        assert list(rows(table))[:3] == [BARE, NULL, "yardstick"]
        assert bounds(table) == ["<= 1.5"]
    assert bounds(beat) == ["<= 2.7"]


@pytest.mark.parametrize("name", ["options", "others"])
def test_more_is_compared_without_goals(name: str) -> None:
    for table in MORE[name](QUICK):
        assert list(rows(table))[:3] == [BARE, NULL, "promweb"]
        assert not table.goals


def test_the_budget_multiplies_what_it_measured() -> None:
    program("prometheus")
    scrapes, memory, paper = map(rows, MORE["budget"](QUICK))
    assert {name: cells[1] for name, cells in scrapes.items() if name.startswith("defaults")} == {
        "defaults": "18",
        "defaults, without _created": "17",
        "defaults, five buckets": "9",
        "defaults, a summary": "3",
        "defaults, request_size, response_size, response_start": "66",
    }
    own = int(scrapes["a process without requests"][1])
    assert [cells[1] for cells in paper.values()] == [
        f"{own + int(label_sets) * 18:,}" for label_sets in paper
    ]
    assert list(memory) == ["2 targets", "4 targets", "each further series"]


def test_the_budget_without_prometheus_has_the_scrapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    scrapes, memory = MORE["budget"](QUICK)
    assert "defaults" in rows(scrapes)
    assert "not installed" in str(memory)


def test_goals_are_held_or_missed_and_a_peer_that_is_not_there_is_said() -> None:
    table = Table("a table", null_control="+0.01")
    table.row("promweb", "1 µs")
    table.goal("of a peer", 0.1, 0.15)
    table.goal("of another", 0.2, 0.15)
    table.goal("of a third", None, 0.15)
    table.goal_at_least("as fast", 20, 20)
    goals = [
        ("0.1 of a peer", "<= 0.15", "held"),
        ("0.2 of another", "<= 0.15", "MISSED"),
        ("no of a third", "<= 0.15", "not measured"),
        ("20x as fast", ">= 20x", "held"),
    ]
    assert [row[-3:] for row in table.rows] == goals
    assert summary([table]).rows == [("a table", *goal, "+0.01") for goal in goals]
    assert "0.2 of another" in str(table)


def test_differences_are_of_pairs_and_every_variant_runs_in_every_round() -> None:
    order: list[str] = []

    def variant(name: str, seconds: list[float]) -> Variant:
        later = iter(seconds * 100)

        def run(n: int) -> float:
            order.append(name)
            return next(later) * n

        return Variant(name, run)

    # The first of each is the warm-up.
    samples = compare(
        [variant(BARE, [9.0, 1.0, 5.0]), variant("promweb", [9.0, 2.0, 6.0])], batch=2, seconds=0
    )
    assert len(samples[BARE]) == 3
    assert samples.added("promweb").value == 1.0
    assert all(set(order[i : i + 2]) == {BARE, "promweb"} for i in range(0, len(order), 2))


@pytest.mark.parametrize(("strict", "code"), [(False, 0), (True, 1)])
def test_a_missed_goal_fails_only_where_that_is_asked_for(
    strict: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("a table")
    table.row("promweb", "1 µs")
    table.goal("of a peer", 0.2, 0.15)
    monkeypatch.setitem(TABLES, "flask", lambda effort: [table])
    assert main(["flask", "--quick", *["--strict"] * strict]) == code
    printed = capsys.readouterr().out
    assert "1 MISSED" in printed
    assert printed.count("0.2 of a peer") == 2


VALGRIND = """#!/bin/sh
shift 2
"$@" && echo "==1== I   refs:      $((1000000 + 1000 * $9 * (1 + $7)))" >&2
"""
"""Runs the program, as valgrind does; counts a thousand instructions for each request to the first
variant, and more for others."""


def test_instructions_of_a_start_are_not_those_of_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "valgrind").write_text(VALGRIND)
    (tmp_path / "valgrind").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert instructions.main(["flask", "--requests", "5"]) == 0
    found = re.findall(r"^(?:bare|promweb).*? ([\d.]+) k", capsys.readouterr().out, re.M)
    assert found == ["1.00", "2.00", "3.00"]


def test_without_valgrind_no_instructions_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit):
        instructions.main([])
    assert "valgrind is not installed: apt-get install valgrind" in capsys.readouterr().err


def test_without_wrk_the_servers_are_skipped_and_it_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert e2e.main([]) == 0
    assert "wrk is not installed" in capsys.readouterr().out
