"""`promweb diff`: its findings for the shops, the exporter, and mutations of an exposition."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import prometheus_flask_exporter
import pytest

import promweb
from examples import demo
from promweb.tools.diff.known import KNOWN
from tests.support.paths import ROOT

from .diffing import OPENMETRICS, Exposing, diff, of_program, printed, run, shops

pytest.importorskip("promql_parser")

DIFFERENCES = (ROOT / "docs/differences.md").read_text()
END = "# TYPE the_end gauge\nthe_end 1\n"
OPTIONS = ("--prefix", "shop", "--group-by", "url_rule")


class Shops(NamedTuple):
    """Both shops after the same requests, their expositions, and files that use them."""

    flask: str
    quart: str
    exposed: str
    dashboard: Path
    rules: Path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shops]:
    directory = tmp_path_factory.mktemp("shops")
    dashboard, rules = directory / "dashboard.json", directory / "rules.yml"
    dashboard.write_text(printed("dashboard", *OPTIONS))
    rules.write_text(printed("rules", *OPTIONS))
    with shops() as ports:
        for request in demo.REQUESTS:
            for port in ports:
                assert demo.ask(port, request) == request.status
        for port in ports:
            demo.scrape(port, demo.TRACKED)
        exposed = demo.send(ports[0], "GET", "/metrics")[1].decode() + END
        flask, quart = (f"http://127.0.0.1:{port}/metrics" for port in ports)
        yield Shops(flask, quart, exposed, dashboard, rules)


# Sides without differences.


def test_the_shop_on_flask_and_on_quart(both: Shops) -> None:
    used = ("--used", both.dashboard, "--used", both.rules)
    assert diff(both.flask, both.quart, "--values", *used) == (0, [])


def test_requests_are_sent_to_both_shops_and_what_they_count_is_compared(
    both: Shops, tmp_path: Path
) -> None:
    requests = tmp_path / "requests"
    lines = [
        json.dumps(
            {
                "method": one.method,
                "path": one.path,
                "headers": dict(one.headers),
                **({"json": one.order} if one.order else {}),
            }
        )
        for one in demo.REQUESTS
        if one.why not in ("small order", "large order")  # there is no end of pens
    ]
    requests.write_text("\n".join(lines))
    methods = [part for name in ("GET", "POST", "DELETE", "BREW") for part in ("--method", name)]
    before = demo.send(_port(both.flask), "GET", "/metrics")[1]
    used = ("--used", both.dashboard, "--used", both.rules)
    arguments = (both.flask, both.quart, "--values", "--replay", requests, *methods, *used)
    assert diff(*arguments) == (0, [])
    after = demo.send(_port(both.flask), "GET", "/metrics")[1]
    assert _requests(after) - _requests(before) == demo.TRACKED - 2


def _port(url: str) -> int:
    return int(url.split(":")[2].split("/")[0])


def _requests(text: bytes) -> float:
    found = re.findall(r"^shop_http_request_total\{.*\} (\S+)$", text.decode(), re.MULTILINE)
    return sum(map(float, found))


PROGRAMS = ("first_releases", "factory", "url_rules", "restful")


@pytest.mark.parametrize("same_traffic", [False, True], ids=["any traffic", "same traffic"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_exporter_and_promweb_differ_in_what_is_documented(
    program: str, same_traffic: bool, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text(of_program(program, prometheus_flask_exporter))
    new.write_text(of_program(program, promweb))
    code, found = diff(old, new, *(["--values"] if same_traffic else []))
    assert code == 0
    news = [one for one in found if one["level"] == "adds"]
    assert all(one["check"] == "value-new" for one in news)
    rest = [one for one in found if one not in news]
    assert {one["check"] for one in rest} >= {"version", "unmatched"}
    assert all(one["level"] == "known" and one["known"] in KNOWN.values() for one in rest)


def test_what_is_called_documented_is_documented() -> None:
    text = " ".join(DIFFERENCES.split())
    assert all(sentence in text for sentence in KNOWN.values())


# Mutations: what was exposed, changed as a careless move would.


class Mutation(NamedTuple):
    """A change of an exposition, and the differences that it makes."""

    change: Callable[[str], str]
    found: set[tuple[str, str, str]]
    """Level, check, and family or file."""
    says: str = ""
    options: tuple[str, ...] = ()
    rule: str = ""
    """An expression of a rule that is used."""


def replaced(pattern: str, instead: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        changed, count = re.subn(pattern, instead, text, flags=re.MULTILINE)
        assert count, pattern
        return changed

    return change


def without(pattern: str) -> Callable[[str], str]:
    return replaced(rf"^(?=.*{pattern}).*\n", "")


DURATION = "shop_http_request_duration_seconds"
REQUESTS = "shop_http_request"
SIZES = ("shop_http_request_size_bytes", "shop_http_response_size_bytes")
GROUPED = (DURATION, *SIZES)

MUTATIONS = {
    "nothing": Mutation(lambda text: text, set()),
    "a family gone": Mutation(
        without("shop_item_views"), {("breaks", "family-gone", "shop_item_views")}
    ),
    "a family with another name": Mutation(
        replaced("shop_item_views", "shop_items_views"),
        {
            ("breaks", "family-gone", "shop_item_views"),
            ("adds", "family-new", "shop_items_views"),
        },
        "shop_items_views is new",
    ),
    "a family that is new": Mutation(
        replaced("^# TYPE the_end", r"# TYPE shop_sales gauge\nshop_sales 3\n\g<0>"),
        {("adds", "family-new", "shop_sales")},
    ),
    "a label with another name": Mutation(
        replaced("url_rule=", "route="),
        {
            (level, f"label-{what}", name)
            for name in GROUPED
            for level, what in (("breaks", "gone"), ("adds", "new"))
        },
        "the label 'url_rule' is gone; it has method, route, service, status",
    ),
    "a label gone": Mutation(
        replaced(r'(shop_item_views_\w+\{)client="\w+",', r"\1"),
        {("breaks", "label-gone", "shop_item_views")},
        "'client'",
    ),
    "a label that is new": Mutation(
        replaced(r"^(shop_item_views_\w+\{)", r'\1shop="1",'),
        {("adds", "label-new", "shop_item_views")},
    ),
    "a bucket dropped": Mutation(
        without(f'{DURATION}_bucket.*le="0.5"'),
        {("breaks", "bucket-gone", DURATION)},
        'the bucket le="0.5" is gone',
    ),
    "a bucket that is new": Mutation(
        replaced(r'^(shop_export_seconds_bucket\{.*)le="0.1"(.*)$', r'\g<0>\n\1le="0.3"\2'),
        {("adds", "bucket-new", "shop_export_seconds")},
    ),
    "a bucket written otherwise": Mutation(
        replaced(r'^(shop_export_seconds_bucket\{.*)le="1.0"', r'\1le="1"'),
        {
            ("breaks", "bucket-gone", "shop_export_seconds"),
            ("adds", "bucket-new", "shop_export_seconds"),
        },
    ),
    "a type changed": Mutation(
        replaced("^# TYPE shop_orders_in_progress gauge", "# TYPE shop_orders_in_progress unknown"),
        {("breaks", "type", "shop_orders_in_progress")},
        "the type was gauge and is unknown",
    ),
    "a histogram that became a summary": Mutation(
        lambda text: replaced(f"^# TYPE {DURATION} histogram", f"# TYPE {DURATION} summary")(
            without(f"{DURATION}_bucket")(text)
        ),
        {("breaks", "type", DURATION)},
        "the type was histogram and is summary",
    ),
    "another help text": Mutation(
        replaced("^# HELP shop_item_views_total .*", "# HELP shop_item_views_total Looks at items"),
        {("note", "help", "shop_item_views")},
        "'Views of items' and is 'Looks at items'",
    ),
    "a value gone": Mutation(
        without('shop_item_views.*client="app"'),
        {("maybe", "value-gone", "shop_item_views")},
        "the label 'client' has no value 'app'",
    ),
    "a value that is new": Mutation(
        replaced(r'^(shop_item_views_\w+\{)client="app"(.*)$', r'\g<0>\n\1client="bot"\2'),
        {("adds", "value-new", "shop_item_views")},
    ),
    "series gone": Mutation(
        without('shop_item_views.*client="browser".*status="404"'),
        {("maybe", "value-gone", "shop_item_views")},
        "'404'",
    ),
    "a combination of values gone": Mutation(
        without(f'{DURATION}.*status="404",url_rule="/items'),
        {("maybe", "series-gone", DURATION)},
        "1 series are missing: {method=",
    ),
    "no series yet": Mutation(
        without("^shop_item_views_"),
        {("maybe", "unseen", "shop_item_views")},
    ),
    "another number": Mutation(
        replaced(r"^(shop_item_views_total\{.*\}) 1.0", r"\1 7.0"),
        {("breaks", "number", "shop_item_views")},
        "is 7 and was 1",
        ("--values",),
    ),
    "another number that nobody compares": Mutation(
        replaced(r"^(shop_item_views_total\{.*\}) 1.0", r"\1 7.0"), set()
    ),
    "another time": Mutation(
        replaced(r"^(shop_export_seconds_sum\S*) .*", r"\1 70"), set(), "", ("--values",)
    ),
    "a value gone that had the same requests": Mutation(
        without('shop_item_views.*client="app"'),
        {
            ("breaks", "value-gone", "shop_item_views"),
            ("breaks", "number", "shop_item_views"),
        },
        "",
        ("--values",),
    ),
    "what is not the application's": Mutation(
        lambda text: replaced(
            "^# TYPE the_end",
            r"# TYPE process_open_fds gauge\nprocess_open_fds 3\n# TYPE python_info gauge\n"
            r"python_info 1\n# TYPE promweb_label_errors_total counter\n"
            r"promweb_label_errors_total 3\n\g<0>",
        )(without("_created")(text)),
        set(),
    ),
    "a worker": Mutation(
        replaced(r"^shop_orders_in_progress\{", 'shop_orders_in_progress{pid="1",'), set()
    ),
    "a metric gone that a rule uses": Mutation(
        without("shop_item_views"),
        {("breaks", "family-gone", "shop_item_views"), ("breaks", "selector", "rules.yml")},
        "shop_item_views_total: the metric shop_item_views_total is missing",
        rule="sum(rate(shop_item_views_total[5m]))",
    ),
    "a value gone that a rule selects": Mutation(
        without('shop_item_views.*client="app"'),
        {("maybe", "value-gone", "shop_item_views"), ("breaks", "selector", "rules.yml")},
        'no series matches client=~"a.*"; client is browser',
        rule='shop_item_views_total{client=~"a.*"}',
    ),
    "a value gone that a rule does not select": Mutation(
        without('shop_item_views.*client="app"'),
        {("maybe", "value-gone", "shop_item_views")},
        rule='shop_item_views_total{client!~"a.*"}',
    ),
    "a label gone that a rule goes by": Mutation(
        replaced(r'(shop_item_views_\w+\{)client="\w+",', r"\1"),
        {("breaks", "label-gone", "shop_item_views"), ("breaks", "selector", "rules.yml")},
        "shop_item_views_total: the label 'client' is missing",
        rule="sum by (client) (shop_item_views_total)",
    ),
    "a bucket gone that a rule selects": Mutation(
        without(f'{DURATION}_bucket.*le="0.5"'),
        {("breaks", "bucket-gone", DURATION), ("breaks", "selector", "rules.yml")},
        'no series matches le="0.5"',
        rule=f'{DURATION}_bucket{{le="0.5"}}',
    ),
    "what neither has and a rule uses": Mutation(
        lambda text: text,
        {("unchecked", "old-empty", "rules.yml")},
        "OLD has no such series now",
        rule='nobody_has_this or shop_item_views_total{client="robot"}',
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_reported_as_what_it_is(both: Shops, name: str, tmp_path: Path) -> None:
    mutation = MUTATIONS[name]
    old, new, rules = tmp_path / "old", tmp_path / "new", tmp_path / "rules.yml"
    old.write_text(both.exposed)
    new.write_text(mutation.change(both.exposed))
    options = list(mutation.options)
    if mutation.rule:
        rule = {"record": "used", "expr": mutation.rule}
        rules.write_text(json.dumps({"groups": [{"name": "g", "rules": [rule]}]}))
        options += ["--used", str(rules)]
    code, found = diff(old, new, *options)
    seen = {(one["level"], one["check"], one["family"].rpartition("/")[2]) for one in found}
    assert seen == mutation.found
    assert mutation.says in "\n".join(one["what"] for one in found)
    assert code == any(one["level"] == "breaks" for one in found)
    assert all(one["users"] == ["used"] for one in found if one["check"] == "selector")


def test_there_are_twenty_mutations() -> None:
    assert len([one for one in MUTATIONS.values() if one.found]) >= 20


# Services, files and standard input.

OLD = '# TYPE jobs_total counter\njobs_total{queue="a"} 1.0\n'
NEW = '# TYPE jobs_total counter\njobs_total{queue="b"} 2.0\n'


def test_services_of_a_side_are_added_up(tmp_path: Path) -> None:
    for name, text in (("a", OLD), ("b", NEW), ("both", OLD + NEW.partition("\n")[2])):
        (tmp_path / name).write_text(text)
    a, b, both = tmp_path / "a", tmp_path / "b", tmp_path / "both"
    assert diff("--old", a, "--old", b, "--new", both, "--values") == (0, [])
    assert diff(both, "--new", a, "--new", b, "--values") == (0, [])
    code, found = diff("--old", a, "--old", b, "--new", a)
    assert (code, [one["check"] for one in found]) == (0, ["value-gone"])


def test_a_counter_has_the_name_that_its_samples_have(tmp_path: Path) -> None:
    """prometheus_client's parser would call both the same."""
    (tmp_path / "old").write_text("# TYPE jobs counter\njobs 1\n")
    (tmp_path / "new").write_text("# TYPE jobs_total counter\njobs_total 1\n")
    code, found = diff(tmp_path / "old", tmp_path / "new")
    assert (code, [one["check"] for one in found]) == (1, ["sample-gone", "sample-new"])


def test_the_text_format_and_openmetrics_are_the_same(both: Shops, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(demo.send(_port(both.flask), "GET", "/metrics")[1])
    exposed = demo.send(_port(both.flask), "GET", "/metrics", Accept=OPENMETRICS)[1].decode()
    with Exposing(exposed, OPENMETRICS) as service:
        assert diff(text, service.url) == (0, [])
        assert service.asked[0][2]["accept"].startswith("application/openmetrics-text")


def test_units_are_compared_where_both_have_them(both: Shops, tmp_path: Path) -> None:
    exposed = demo.send(_port(both.flask), "GET", "/metrics", Accept=OPENMETRICS)[1].decode()
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text(exposed)
    new.write_text(
        replaced(f"^# TYPE {DURATION} .*", rf"\g<0>\n# UNIT {DURATION} seconds")(exposed)
    )
    code, found = diff(old, new)
    assert code == 0
    assert [(one["level"], one["check"], one["family"]) for one in found] == [
        ("note", "unit", DURATION)
    ]


def test_openmetrics_that_is_none_is_read_as_text() -> None:
    with Exposing(OLD, OPENMETRICS) as old, Exposing(OLD) as new:  # there is no `# EOF`
        done = run("diff", old.url, new.url)
        assert "application/openmetrics-text" not in old.asked[1][2]["accept"]
        assert (len(old.asked), done.exit_code) == (2, 2)  # this one insists


def test_standard_input(tmp_path: Path) -> None:
    (tmp_path / "new").write_text(OLD)
    from click.testing import CliRunner

    from promweb.tools.cli.group import cli

    done = CliRunner().invoke(cli, ["diff", "-", str(tmp_path / "new")], input=OLD)
    assert (done.exit_code, done.output) == (0, "There are no differences.\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "OLD is missing; give"),
        (["old"], "NEW is missing; give"),
        (["old", "new", "third"], "more than two services are given; give"),
        (["old", "old"], None),
        (["--old", "old", "--new", "new", "old"], "is old OLD or NEW?"),
        (["-", "-"], "can be read only once"),
        (["old", "new", "--old", "old"], "would count twice"),
        (["./missing", "new"], "there is no such file"),
        (["missing.txt", "new"], "there is no such file"),
        (["ftp://host/x", "new"], "must be http or https"),
        (["old", "empty"], "it is empty"),
        (["process", "new"], "OLD exposes no metrics of an application"),
        (["old", "nonsense"], "not an exposition of metrics"),
        (["old", "http://127.0.0.1:1"], "http://127.0.0.1:1: Connection refused"),
        (["old", "new", "--replay", "old"], "give URLs"),
        (["old", "new", "--replay-old", "localhost"], "need --replay"),
        (["old", "new", "--used", "old"], "has no PromQL"),
        (["old", "new", "--used", "nonsense"], "neither JSON nor YAML"),
        (["old", "new", "--used", "missing"], "does not exist"),
    ],
)
def test_wrong_use(
    arguments: list[str], says: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    process = "# TYPE process_open_fds gauge\nprocess_open_fds 3\n"
    texts = {
        "process": process,
        "old": OLD,
        "new": NEW,
        "empty": "\n",
        "nonsense": "{ what\tis: [this",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    done = run("diff", *arguments)
    assert done.exit_code == (2 if says else 0)
    assert (says or "") in done.stderr


# How it is printed.


def test_a_table_has_what_strangers_wrote_escaped(tmp_path: Path) -> None:
    (tmp_path / "old").write_text('# TYPE jobs_total counter\njobs_total{queue="\x1b[31m"} 1\n')
    (tmp_path / "new").write_text(OLD)
    done = run("diff", str(tmp_path / "old"), str(tmp_path / "new"))
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[1].split(None, 2)[:2] == ["maybe", "jobs"]
    assert lines[1].endswith(r"the label 'queue' has no value '\x1b[31m'")
    assert lines[-1] == "2 differences: 1 may be other traffic, 1 new."


def test_annotations_of_github(tmp_path: Path) -> None:
    (tmp_path / "old").write_text(
        "# HELP jobs_total 100%,\\nor: so\n# TYPE jobs_total counter\njobs_total 1\n"
    )
    (tmp_path / "new").write_text("# TYPE other gauge\nother 1\n")
    done = run("diff", "--format", "github", str(tmp_path / "old"), str(tmp_path / "new"))
    assert done.exit_code == 1
    assert done.stdout.splitlines()[:2] == [
        "::error title=breaks%3A jobs::the family is gone",
        "::notice title=adds%3A other::the family is new, a gauge",
    ]
    (tmp_path / "new").write_text(
        "# HELP jobs_total 99%\n# TYPE jobs_total counter\njobs_total 1\n"
    )
    done = run("diff", "--format", "github", str(tmp_path / "old"), str(tmp_path / "new"))
    assert done.stdout.splitlines()[0] == (
        r"::notice title=note%3A jobs::the help text was '100%25,\nor: so' and is '99%25'"
    )


def test_json_says_what_was_compared(tmp_path: Path) -> None:
    (tmp_path / "old").write_text(OLD)
    (tmp_path / "new").write_text(OLD)
    done = run("diff", "--format", "json", str(tmp_path / "old"), str(tmp_path / "new"))
    assert json.loads(done.stdout) == {
        "version": 1,
        "old": [str(tmp_path / "old")],
        "new": [str(tmp_path / "new")],
        "used": None,
        "counts": dict.fromkeys(
            ("breaks", "unread", "maybe", "unchecked", "known", "note", "adds"), 0
        ),
        "differences": [],
    }
