"""`promweb diff --used`: what is read of dashboards and rules, and whether Prometheus agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promweb.scrapes.parsing import parse
from tests.support.prometheus import prometheus
from tests.support.waiting import eventually

from .diffing import Exposing, diff, printed, run

pytest.importorskip("promql_parser")

from promweb.tools.diff.sides import Side
from promweb.tools.diff.usage import Answers
from promweb.tools.promql.files import Query, read_file
from promweb.tools.promql.selectors import Matcher, Selector, selectors
from promweb.tools.promql.variables import read_expression, read_variable


def shown(found: list[Selector]) -> list[tuple[str, str]]:
    return [(str(one), ",".join(sorted(one.labels))) for one in found]


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("x", [("x", "")]),
        ("x{}", [("x", "")]),
        ('x{a="1",b!="2",c=~"3",d!~"4"}', [('x{a="1",b!="2",c=~"3",d!~"4"}', "")]),
        ("-(rate(x[5m] offset 1h @ end()))", [("x", "")]),
        ("rate(x[5m] offset 1h) + max_over_time(y[1h:5m])", [("x", ""), ("y", "")]),
        ('{__name__="x",a="\\""}', [('x{a="\\""}', "")]),
        ('{__name__=~"x.*"}', [('{__name__=~"x.*"}', "")]),
        ("sum by (a, le) (x) / sum(x)", [("x", "a,le"), ("x", "")]),
        ("sum without (a) (x)", [("x", "")]),
        ("sum by (a) (sum by (a, b) (x))", [("x", "a,b")]),
        ('count_values by (a) ("v", x)', [("x", "a")]),
        ('sum by (v) (count_values by (a) ("v", x))', [("x", "a")]),
        ("topk(scalar(n), x)", [("x", ""), ("n", "")]),
        ("histogram_quantile(0.9, sum by (a, le) (rate(x[5m])))", [("x", "a,le")]),
        ('label_replace(x, "a", "$1", "b", ".*")', [("x", "b")]),
        ('sum by (a) (label_replace(x, "a", "$1", "b", ".*"))', [("x", "b")]),
        ('sum by (a) (label_join(x, "a", "-", "b", "c"))', [("x", "b,c")]),
        ("x and on (a) y", [("x", "a"), ("y", "a")]),
        ("x unless ignoring (a) y", [("x", ""), ("y", "")]),
        ("sum by (b) (x / on (a) group_left (c) y)", [("x", "a,b"), ("y", "a,c")]),
        ("sum by (b) (x / on (a) group_right (c) y)", [("x", "a,c"), ("y", "a,b")]),
        ("sum by (b) (x / y)", [("x", "b"), ("y", "b")]),
        ("absent(x) or vector(0) > bool 1", [("x", "")]),
        ("x or x", [("x", "")]),
    ],
)
def test_the_selectors_of_an_expression(expression: str, found: list[tuple[str, str]]) -> None:
    assert shown(selectors(expression)) == found


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ('x{a="$a"}', [('x{a=~".*"}', "a")]),
        ('x{a=~"${a:regex}"}', [('x{a=~".*"}', "a")]),
        ('x{a="v-[[a]].b"}', [('x{a=~"v\\\\-.*\\\\.b"}', "a")]),
        ('x{a=~"v|$a"}', [('x{a=~"v|.*"}', "a")]),
        ('x{a!~"$a",b="1"}', [('x{b="1"}', "a")]),
        ("rate(x[$__rate_interval])", [("x", "")]),
        ("rate(x[$__range:$__interval] offset $o)", [("x", "")]),
        ("rate(x[${minutes}m])", [("x", "")]),
        ("rate(x[[[interval]]])", [("x", "")]),
        ("sum by ($by, a) (x)", [("x", "a")]),
        ("topk($n, x) > $limit", [("x", "")]),
        ("x * $__range_s / $__interval_ms", [("x", "")]),
        ("${prefix}_total", [('{__name__=~".*_total"}', "")]),
        ("x{a=\"[5m]\"} or y{a='$'}", [('x{a="[5m]"}', ""), ('y{a="$"}', "")]),
        ('label_replace(x, "a", "${1}xx", "b", "(.).*")', [("x", "b")]),
    ],
)
def test_grafanas_variables_in_an_expression(expression: str, found: list[tuple[str, str]]) -> None:
    assert shown(read_expression(expression)) == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("label_values(a)", [("{}", "a")]),
        ("label_values(x, a)", [("x", "a")]),
        ('label_values(x{b="1",c=~"$c"}, a)', [('x{b="1",c=~".*"}', "a,c")]),
        ("label_values(x, $label)", [("x", "")]),
        ("label_values($label)", []),
        ("label_names()", []),
        ("metrics(x_.*)", [('{__name__=~".*(?:x_.*).*"}', "")]),
        ("query_result(sum by (a) (x))", [("x", "a")]),
        ('x{b="1"}', [('x{b="1"}', "")]),
    ],
)
def test_the_queries_of_variables(query: str, found: list[tuple[str, str]]) -> None:
    assert shown(read_variable(query)) == found


@pytest.mark.parametrize("expression", ["x[5m", "sum(", 'x{a=~"(["}', 'x{a="1" or b="2"}', "$$$"])
def test_what_is_no_promql(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_expression(expression)


@pytest.mark.parametrize(
    ("op", "value", "accepted"),
    [
        ("=", "200", ["200"]),
        ("!=", "200", ["", "404"]),
        ("=~", "2..", ["200"]),
        ("!~", "2..", ["", "404"]),
        ("=~", "|4.*", ["", "404"]),
        ("=~", "20", []),
    ],
)
def test_matchers(op: str, value: str, accepted: list[str]) -> None:
    matcher = Matcher("status", op, value)
    assert [one for one in ("", "200", "404") if matcher.accepts(one)] == accepted


# Files.

PANEL = {"title": "Errors", "type": "timeseries", "targets": [{"refId": "A", "expr": "x"}]}
RULES = """
groups:
- name: g
  rules:
  - record: recorded
    expr: sum(x)
  - alert: Alert
    expr: |
      y
      > 1
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (json.dumps({"title": "Board", "panels": [PANEL]}), [Query("Errors", "x")]),
        (json.dumps({"dashboard": {"panels": [PANEL]}, "meta": {}}), [Query("Errors", "x")]),
        (
            json.dumps({"panels": [{"type": "row", "title": "Row", "panels": [PANEL]}]}),
            [Query("Errors", "x")],
        ),
        (json.dumps({"rows": [{"title": "Old", "panels": [PANEL]}]}), [Query("Errors", "x")]),
        (
            json.dumps({"panels": [{**PANEL, "datasource": {"type": "loki", "uid": "l"}}, PANEL]}),
            [Query("Errors", "x")],
        ),
        (
            json.dumps(
                {
                    "templating": {
                        "list": [
                            {"name": "a", "type": "query", "query": "label_values(x, a)"},
                            {"name": "b", "type": "query", "query": {"query": "metrics(y)"}},
                            {"name": "c", "type": "custom", "query": "1,2"},
                            {"name": "d", "type": "query", "query": ""},
                        ]
                    },
                    "annotations": {"list": [{"name": "starts", "expr": "z"}]},
                }
            ),
            [
                Query("variable a", "label_values(x, a)", is_variable=True),
                Query("variable b", "metrics(y)", is_variable=True),
                Query("starts", "z"),
            ],
        ),
        (
            json.dumps(
                {
                    "spec": {
                        "elements": {
                            "panel-1": {
                                "kind": "Panel",
                                "spec": {
                                    "title": "New",
                                    "data": {"spec": {"queries": [{"spec": {"expr": "x"}}]}},
                                },
                            }
                        },
                        "variables": [
                            {
                                "kind": "QueryVariable",
                                "spec": {
                                    "name": "v",
                                    "query": {"spec": {"query": "label_values(v)"}},
                                },
                            }
                        ],
                    }
                }
            ),
            [Query("New", "x"), Query("variable v", "label_values(v)", is_variable=True)],
        ),
        (RULES, [Query("recorded", "sum(x)"), Query("Alert", "y\n> 1\n")]),
        (
            "kind: PrometheusRule\nmetadata: {name: shop}\nspec:"
            + RULES.replace("\n", "\n  ")
            + "\n---\nkind: PrometheusRule\nspec:\n  groups: [{rules: [{alert: B, expr: z}]}]\n",
            [Query("recorded", "sum(x)"), Query("Alert", "y\n> 1\n"), Query("B", "z")],
        ),
    ],
    ids=["export", "api", "row", "old", "loki", "variables", "second schema", "rules", "k8s"],
)
def test_files(text: str, found: list[Query], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    assert read_file(path) == found


@pytest.mark.parametrize("text", ["", "[]", "a: 1", "{ what", "\xff", "[" * 5000])
def test_files_without_promql(text: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"has no PromQL|neither JSON nor YAML|cannot be read"):
        read_file(tmp_path / "file")


# Selectors that OLD answers and NEW does not.

OLD = """# TYPE jobs_total counter
jobs_total{queue="mail",result="ok"} 3
jobs_total{queue="mail",result="failed"} 1
jobs_total{queue="print",result="ok"} 2
# TYPE waiting gauge
waiting{queue="mail"} 1
# TYPE took_seconds histogram
took_seconds_bucket{queue="mail",le="0.5"} 1
took_seconds_bucket{queue="mail",le="+Inf"} 2
took_seconds_sum{queue="mail"} 2
took_seconds_count{queue="mail"} 2
# TYPE whose gauge
whose{job="nobody",instance="elsewhere",owner=""} 1
"""
NEW = """# TYPE jobs_total counter
jobs_total{queue="mail",result="ok"} 3
jobs_total{queue="print",result="failed"} 2
# TYPE queued gauge
queued{queue="mail"} 1
# TYPE took_seconds histogram
took_seconds_bucket{name="mail",le="0.25"} 1
took_seconds_bucket{name="mail",le="+Inf"} 2
took_seconds_sum{name="mail"} 2
took_seconds_count{name="mail"} 2
# TYPE whose gauge
whose{instance="elsewhere"} 1
"""
EXPRESSIONS = [
    "jobs_total",
    "waiting",
    "queued",
    "nobody",
    'jobs_total{result="failed"}',
    'jobs_total{result="lost"}',
    'jobs_total{queue="mail",result="failed"}',
    'jobs_total{queue="print",result="failed"}',
    'jobs_total{queue="print",result=~"o.*"}',
    'jobs_total{queue=~"fax|mail"}',
    'jobs_total{queue!="mail"}',
    'jobs_total{queue!~".*i.*"}',
    'jobs_total{nothing=""}',
    'jobs_total{queue=""}',
    'took_seconds_count{queue="mail"}',
    'took_seconds_count{name="mail"}',
    'took_seconds_count{queue=""}',
    'took_seconds_count{queue!="print"}',
    'took_seconds_bucket{le="0.5"}',
    'took_seconds_bucket{le="+Inf"}',
    "sum by (queue) (took_seconds_sum)",
    "sum by (name) (took_seconds_sum)",
    "sum by (queue, result) (jobs_total)",
    "jobs_total and on (queue) took_seconds_count",
    '{__name__=~"took_.*",queue="mail"}',
    '{__name__=~"took_.*",le="+Inf"}',
    '{__name__=~"wait.*|queued"}',
    'whose{exported_job="nobody"}',
    'whose{exported_instance="elsewhere"}',
    'whose{owner=""}',
    "absent(waiting)",
    "sum(rate(jobs_total[5m])) / sum(waiting)",
]


def rules_of(expressions: list[str], path: Path) -> Path:
    rules = [{"record": f"r{n}", "expr": expr} for n, expr in enumerate(expressions)]
    path.write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    return path


def test_prometheus_answers_what_was_said_that_it_does(
    tmp_path: Path, prometheus_program: str
) -> None:
    """For each selector, and each label that is grouped by, of OLD and of NEW."""
    used = rules_of(EXPRESSIONS, tmp_path / "rules.yml")
    with Exposing(OLD) as old, Exposing(NEW) as new:
        code, found = diff(old.url, new.url, "--used", used)
        assert code == 1
        targets = {"old": old.port, "new": new.port}
        config = {
            "scrape_configs": [
                {
                    "job_name": name,
                    "scrape_interval": "1s",
                    "scrape_timeout": "1s",
                    "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
                }
                for name, port in targets.items()
            ]
        }
        said = {one["what"].partition(": ")[0] for one in found if one["check"] == "selector"}
        with prometheus(config, tmp_path, prometheus_program) as server:
            eventually(lambda: len(server.vector("up == 1")) == 2)
            eventually(lambda: len(server.vector("whose")) == 2)
            missing = {
                str(Selector(one.name, one.matchers))
                for expression in EXPRESSIONS
                for one in selectors(expression)
                for label in ("", *one.labels)
                if _has(server, one, "old", label) and not _has(server, one, "new", label)
            }
    assert said == missing
    assert 5 < len(missing) < len(EXPRESSIONS) / 2


def _has(server: Any, selector: Selector, job: str, label: str = "") -> bool:
    matchers = (*selector.matchers, Matcher("job", "=", job))
    if label:
        matchers = (*matchers, Matcher(label, "!=", ""))
    return bool(server.vector(str(Selector(selector.name, matchers))))


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("waiting", "waiting: the metric waiting is missing"),
        (
            'jobs_total{queue="mail",result="failed"}',
            'jobs_total{queue="mail",result="failed"}: no series matches all of these labels',
        ),
        (
            'took_seconds_bucket{le="0.5"}',
            'took_seconds_bucket{le="0.5"}: no series matches le="0.5"; le is +Inf, 0.25',
        ),
        (
            'took_seconds_count{queue="mail"}',
            "took_seconds_count{queue=\"mail\"}: the label 'queue' is missing",
        ),
        ("sum by (queue) (took_seconds_sum)", "took_seconds_sum: the label 'queue' is missing"),
        ("nobody", ""),
        ('jobs_total{result="lost"}', ""),
    ],
)
def test_what_is_missing_is_said(expression: str, says: str, tmp_path: Path) -> None:
    for name, text in (("old", OLD), ("new", NEW)):
        (tmp_path / name).write_text(text)
    used = rules_of([expression], tmp_path / "rules.yml")
    _, found = diff(tmp_path / "old", tmp_path / "new", "--used", used)
    said = [one for one in found if one["check"] == "selector"]
    assert [one["what"] for one in said] == ([says] if says else [])
    assert all(one["users"] == ["r0"] and one["level"] == "breaks" for one in said)


def test_what_was_not_checked_is_listed(tmp_path: Path) -> None:
    """A series that OLD does not have now, and label values that only requests make."""
    (tmp_path / "old").write_text(OLD)
    used = rules_of(['jobs_total{result="lost"}', "nobody", "jobs_total"], tmp_path / "rules.yml")
    code, [found] = diff(tmp_path / "old", tmp_path / "old", "--used", used)
    assert (code, found["level"], found["check"], found["users"]) == (
        *(0, "unchecked", "old-empty"),
        ["r0"],
    )
    assert found["what"] == (
        'jobs_total{result="lost"}: OLD has no such series now, so it was not checked'
    )

    app = tmp_path / "unasked_shop.py"
    app.write_text(
        "from flask import Flask\nfrom promweb import PrometheusMetrics\n"
        "app = Flask('shop')\nPrometheusMetrics(app)\n"
    )
    count = "flask_http_request_duration_seconds_count"
    (tmp_path / "old").write_text(
        f"# TYPE flask_http_request_duration_seconds histogram\n{count}"
        '{method="GET",path="/items/1",status="200"} 1\n'
    )
    by_path = [f'{count}{{path="/items/1"}}', f"sum by (path) ({count})"]
    used = rules_of(by_path, tmp_path / "rules.yml")
    _, found = diff(tmp_path / "old", "--app", f"{app}:app", "--used", used)
    assert [one["what"] for one in found if one["level"] == "unchecked"] == [
        f"{by_path[0]}: NEW has label values only after requests, so it was not checked"
    ]


def test_what_cannot_be_read_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "old").write_text(OLD)
    used = rules_of(["jobs_total", "smooth(jobs_total"], tmp_path / "rules.yml")
    code, found = diff(tmp_path / "old", tmp_path / "old", "--used", used)
    assert (code, [(one["level"], one["check"]) for one in found]) == (2, [("unread", "query")])
    assert "smooth(jobs_total" in found[0]["what"]


def test_labels_of_targets_are_named(tmp_path: Path) -> None:
    """Prometheus adds them, so no exposition tells; a label with a mistake looks the same."""
    (tmp_path / "old").write_text(OLD)
    used = rules_of(['jobs_total{job="a",env="prod"}', 'other{zone="x"}'], tmp_path / "rules.yml")
    code, found = diff(tmp_path / "old", tmp_path / "old", "--used", used)
    assert code == 0
    assert [(one["check"], one["what"]) for one in found] == [
        ("target-labels", "no series has the label 'env'; Prometheus is assumed to add it")
    ]
    assert (found[0]["family"], found[0]["users"]) == (str(used), ["r0"])


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("job_total", "neither side has job_total. Did you mean jobs_total?"),
        ("jobs", "neither side has jobs. Did you mean jobs_total?"),
        (
            'jobs_total{results="lost"}',
            "no series has the label 'results'; Prometheus is assumed to add it. "
            "Did you mean result?",
        ),
        ("node_jobs_total", ""),  # another program's
        ("node_cpu_seconds_total", ""),
        ("up", ""),
    ],
)
def test_a_name_that_neither_side_has_is_a_note(expression: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "old").write_text(OLD)
    used = rules_of([expression], tmp_path / "rules.yml")
    code, found = diff(tmp_path / "old", tmp_path / "old", "--used", used)
    assert code == 0
    assert [(one["what"], one["level"]) for one in found] == ([(says, "note")] if says else [])
    assert all((one["family"], one["users"]) == (str(used), ["r0"]) for one in found)


def test_a_name_that_new_has_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "old").write_text(OLD)
    (tmp_path / "new").write_text(f"{OLD}# TYPE job_total counter\njob_total 1\n")
    used = rules_of(["job_total"], tmp_path / "rules.yml")
    _, found = diff(tmp_path / "old", tmp_path / "new", "--used", used)
    assert [one["check"] for one in found] == ["family-new"]


def test_queries_that_find_their_series_are_counted(tmp_path: Path) -> None:
    (tmp_path / "old").write_text(OLD)
    (tmp_path / "new").write_text(OLD.replace("jobs", "works"))
    good = rules_of(["jobs_total", "sum(rate(jobs_total[5m]))"], tmp_path / "good.yml")
    other = ["jobs_total / node_jobs_total", "node_jobs_total", "smooth(", "jobs_total"]
    mixed = rules_of(other, tmp_path / "mixed.yml")
    for new, files, says, queries, count in (
        ("old", [good], "2 of 2 in 1 file", 2, 2),
        ("old", [good, mixed], "3 of 6 in 2 files", 6, 3),
        ("new", [good], "0 of 2 in 1 file", 2, 0),
    ):
        used = [argument for file in files for argument in ("--used", str(file))]
        sides = [str(tmp_path / "old"), str(tmp_path / new)]
        done = run("diff", *sides, *used)
        last = done.stdout.splitlines()[-1]
        assert last == f"Queries that find their series on both sides: {says}."
        made = json.loads(run("diff", *sides, *used, "--format", "json").stdout)
        counts = {"queries": queries, "found": count, "assumed": 0}
        assert made["used"] == {"files": len(files), **counts}
    made = json.loads(run("diff", *sides, "--format", "json").stdout)
    assert made["used"] is None


def test_queries_with_labels_that_prometheus_may_add_are_counted_apart(tmp_path: Path) -> None:
    (tmp_path / "old").write_text(OLD)
    queries = ["jobs_total", 'jobs_total{zone="a"}', "sum by (route) (jobs_total)"]
    used = rules_of(queries, tmp_path / "rules.yml")
    done = run("diff", str(tmp_path / "old"), str(tmp_path / "old"), "--used", str(used))
    assert done.exit_code == 0
    assert "no series has the label 'route'" in " ".join(done.stdout.split())
    assert done.stdout.splitlines()[-1] == (
        "Queries that find their series on both sides: 3 of 3 in 1 file; 2 of these if Prometheus "
        "adds the labels that are noted."
    )


def test_a_query_of_a_family_that_has_no_series_yet_was_not_checked(tmp_path: Path) -> None:
    (tmp_path / "old").write_text(f"{OLD}# TYPE mails_total counter\n")
    used = rules_of(["sum(rate(mails_total[5m]))", "other_total"], tmp_path / "rules.yml")
    code, found = diff(tmp_path / "old", tmp_path / "old", "--used", used)
    assert (code, [(one["level"], one["check"]) for one in found]) == (
        0,
        [("unchecked", "old-empty")],
    )
    assert found[0]["users"] == ["r0"]


def test_every_query_of_promwebs_own_files_is_read(tmp_path: Path) -> None:
    side = Side([parse(OLD)])
    for naming in ("promweb", "otel"):
        for command in ("dashboard", "rules"):
            path = tmp_path / command
            path.write_text(printed(command, "--naming", naming))
            queries = read_file(path)
            assert len(queries) > 30
            for query in queries:
                read = read_variable if query.is_variable else read_expression
                assert all(not Answers(side).of(one) for one in read(query.text))
