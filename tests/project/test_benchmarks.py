"""The benchmarks run and print their rows; what they measure is nothing for a test to judge."""

from __future__ import annotations

import pytest

from benchmarks import e2e
from benchmarks.__main__ import TABLES, main
from benchmarks.harness import BARE, NULL, Effort, Table, Variant, compare
from tests.support.needs import program

QUICK = Effort(quick=True)


def rows(table: Table) -> dict[str, tuple[str, ...]]:
    return {row[0]: row for row in table.rows if row[0]}


@pytest.mark.parametrize("name", ["flask", "decorators", "options"])
def test_a_table_of_requests_has_bare_the_null_control_and_promweb(name: str) -> None:
    for table in TABLES[name](QUICK):
        there = rows(table)
        assert list(there)[:3] == [BARE, NULL, "promweb"]
        assert all(row[1].endswith(" µs") for row in there.values())
        verdicts = [row[-1] for row in table.rows if row[-1]]
        assert verdicts
        assert set(verdicts) <= {"held", "MISSED", "not measured"}
        assert len(table.missed) == verdicts.count("MISSED")


def test_a_table_of_scrapes_has_promweb_warm_and_cold_beside_prometheus_client() -> None:
    table = next(iter(TABLES["scrape"](QUICK)))
    assert [name.partition(",")[0] for name in rows(table)] == ["prometheus_client"] + [
        "promweb"
    ] * 3


def test_the_budget_multiplies_what_it_measured() -> None:
    program("prometheus")
    scrapes, memory, paper = map(rows, TABLES["budget"](QUICK))
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
    scrapes, memory = TABLES["budget"](QUICK)
    assert "defaults" in rows(scrapes)
    assert "not installed" in str(memory)


def test_the_tables_of_workers_have_promweb_warm_and_cold_beside_prometheus_client() -> None:
    *tables, dead = TABLES["workers"](QUICK)
    assert list(rows(dead)) == ["nobody died", "10 others died"]
    assert len(tables) == 2
    for table in tables:
        names = [name.partition(" ")[0].partition(",")[0] for name in rows(table)]
        assert names == ["prometheus_client's", "promweb", "promweb"]


def test_goals_are_held_or_missed_and_a_peer_that_is_not_there_is_said() -> None:
    table = Table("a table")
    table.row("promweb", "1 µs")
    table.goal("of a peer", 0.1, 0.15)
    table.goal("of another", 0.2, 0.15)
    table.goal("of a third", None, 0.15)
    table.goal_at_least("as fast", 20, 20)
    assert [row[-3:] for row in table.rows] == [
        ("0.1 of a peer", "<= 0.15", "held"),
        ("0.2 of another", "<= 0.15", "MISSED"),
        ("no of a third", "<= 0.15", "not measured"),
        ("20x as fast", ">= 20x", "held"),
    ]
    assert table.missed == ["a table: 0.2 of another, goal <= 0.15"]
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
    assert "1 MISSED" in capsys.readouterr().out


def test_without_wrk_the_servers_are_skipped_and_it_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert e2e.main([]) == 0
    assert "wrk is not installed" in capsys.readouterr().out
