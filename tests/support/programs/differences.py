"""The complete list of deliberate differences from prometheus_flask_exporter 0.23.

One sentence each, for `docs/differences.md`. For each difference that the programs of this package
show, it lists the answers and series, and the comparing test allows no others. The others have a
check of their name in `tests/behaviour/test_drop_in.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import prometheus_flask_exporter

import promweb

__all__ = ["DIFFERENCES", "Difference", "Seen"]

EXPORTER, PROMWEB = prometheus_flask_exporter.__version__, promweb.__version__


@dataclass(frozen=True)
class Seen:
    """How a difference shows in one program.

    `answers` maps "METHOD path" to the status from the exporter and from promweb. The other two
    map a series that only one of them exposes to its value: a count for histograms and summaries.
    """

    answers: dict[str, tuple[int, int]] = field(default_factory=dict)
    exporter: dict[str, float] = field(default_factory=dict)
    promweb: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One deliberate difference; `programs` has the modules of this package that show it."""

    name: str
    sentence: str
    programs: dict[str, Seen] = field(default_factory=dict)


def _version(prefix: str = "flask") -> Seen:
    family = f"{prefix}_exporter_info"
    return Seen(
        exporter={f'{family}{{version="{EXPORTER}"}}': 1},
        promweb={f'{family}{{version="{PROMWEB}"}}': 1},
    )


def _unmatched(*requests: str, by: str = "path", prefix: str = "flask", **more: str) -> Seen:
    """Return the series of requests without a route: each one's method, group and status.

    `more` are further labels; `{}` stands for the first digit of the status.
    """
    seen = Seen()
    for request in requests:
        method, group, status = request.split()
        for series, value in ((seen.exporter, group), (seen.promweb, "<unmatched>")):
            labels = {"method": method, by: value, "status": status, **more}
            text = ",".join(f'{name}="{labels[name]}"' for name in sorted(labels))
            key = f"{prefix}_http_request_duration_seconds{{{text.replace('{}', status[0])}}}"
            series[key] = series.get(key, 0) + 1
    return seen


DIFFERENCES = (
    Difference(
        "version",
        "`exporter_info` has the version of promweb.",
        {
            "first_releases": _version(),
            "factory": _version(),
            "url_rules": _version("shop"),
            "restful": _version(),
        },
    ),
    Difference(
        "unmatched",
        "Requests that no route matched (404, 405, slash redirects) have the group `<unmatched>` "
        "instead of their path or `None`, so that strangers cannot create series; only a "
        "`group_by` function is called for them.",
        {
            "first_releases": _unmatched("GET /no/such/page 404", "POST / 405"),
            "factory": _unmatched(
                "GET /items/ 404",
                "GET /buy/pen 405",
                "GET /admin 404",
                "DELETE /admin/reports/2 405",
            ),
            "url_rules": _unmatched(
                "DELETE None 405",
                "GET None 404",
                "GET None 308",
                by="url_rule",
                prefix="shop",
                region="north",
                tenant="nobody",
                family="{}xx",
            ),
            "restful": _unmatched("POST None 405", "GET None 404", by="endpoint"),
        },
    ),
    Difference(
        "label_errors",
        "A label callable or a `group_by` that raises gives the value `<error>`, is logged once "
        "and counts in `promweb_label_errors_total`; the exporter answered the request with 500.",
        {
            "first_releases": Seen(
                answers={"GET /book": (500, 200), "GET /pen": (500, 200)},
                promweb={
                    'invocation_by_type_total{item_type="<error>"}': 2,
                    'promweb_label_errors_total{label="item_type",metric="invocation_by_type"}': 2,
                },
            )
        },
    ),
    Difference(
        "register_default",
        "`register_default` covers every route, those added after it too, but not the metrics "
        "endpoint; the exporter covered what was there, the metrics endpoint included.",
        {
            "factory": Seen(
                exporter={'by_endpoint_total{endpoint="prometheus_metrics",status="200"}': 2}
            )
        },
    ),
    Difference(
        "restful_exceptions",
        "An unhandled exception that Flask-RESTful turns into a 500 counts in "
        "`http_request_exceptions_total`, as it does without Flask-RESTful.",
        {
            "restful": Seen(
                promweb={
                    'flask_http_request_exceptions_total{method="GET",status="500"}': 1,
                    'flask_http_request_exceptions_total{method="POST",status="500"}': 1,
                }
            )
        },
    ),
    Difference(
        "durations",
        "The duration of a request begins when the application is called and ends with the last "
        "byte of the body, so it includes other people's hooks, and streams to their end.",
    ),
    Difference(
        "streams",
        "A streamed body that raises half-way counts in `http_request_exceptions_total`, with "
        "the status that was sent.",
    ),
    Difference(
        "early_answers",
        "A request that a `before_request` function answers has a duration, whichever was "
        "registered first; the exporter counted it without one when it came second.",
    ),
    Difference(
        "late_failures",
        "A request whose `after_request` or `teardown_request` function raises has the status "
        "500 and counts as an exception; the exporter could miss both, depending on who was "
        "registered first.",
    ),
    Difference(
        "failure_statuses",
        "`http_request_exceptions_total` has the status that was sent where a handler of 500 "
        "answers with another one; the exporter counted 500, and the request by the other one.",
    ),
    Difference(
        "middleware",
        "Where middleware inside of the measurement changes the status, or answers in the "
        "application's place (the group is `<middleware>`), the status that is sent counts; the "
        "exporter saw neither.",
    ),
    Difference(
        "final_response",
        "The response that label callables of a view get is the one that the client gets, after "
        "every `after_request` function; for an exception that propagates it is an empty 500.",
    ),
    Difference(
        "response_converter",
        "`response_converter` is accepted and not called, because nothing has to be converted.",
    ),
    Difference(
        "return_values",
        "A decorated function returns what it returned and raises what it raised; the exporter "
        "made a response of it in views, failed where it could not (a Flask-RESTful resource that "
        "returns a dictionary), and called Flask's error handlers inside of the function.",
    ),
    Difference(
        "raising_helpers",
        "A label callable of one argument gives `<exception>` when a decorated function that is "
        "not a view raises.",
    ),
    Difference(
        "process_exits",
        "`SystemExit`, `KeyboardInterrupt` and `GreenletExit` in a view count in its decorators.",
    ),
    Difference(
        "invalid_answers",
        "A view that returns what Flask cannot answer with counts in its decorators, as a 500.",
    ),
    Difference(
        "kinds_of_functions",
        "Decorators keep coroutine functions and generators what they are, time generators until "
        "they are exhausted, and accept view classes.",
    ),
    Difference(
        "outside_requests",
        "Decorated functions work outside of requests: in jobs, commands and background threads.",
    ),
    Difference(
        "methods",
        "Methods that HTTP does not define have the method label `<other>`.",
    ),
    Difference(
        "max_series",
        "Every metric has at most `max_series` label sets (1000 unless set); further ones become "
        "`<overflow>` and count in `promweb_series_folded_total`.",
    ),
    Difference(
        "explicit_labels",
        "A label given to a decorator beats a default label of the same name.",
    ),
    Difference(
        "reserved_labels",
        "A default label named `method`, `status` or like the group raises ValueError at "
        "construction; the exporter failed at every request.",
    ),
    Difference(
        "label_callables",
        "Label callables are checked when the decorator is made: more than one argument, any "
        "number of them (`*args`), a coroutine function, or one argument on a gauge raises "
        "ValueError. Bound methods and callable objects without arguments work.",
    ),
    Difference(
        "label_values_of_objects",
        "A label callable that returns a member of an enum gives the member's value, and one that "
        "returns a coroutine gives `<error>`; the exporter made text of the objects.",
    ),
    Difference(
        "streaming_gauges",
        "A gauge on a view is up until the body has been sent; the exporter counted it down when "
        "the view returned.",
    ),
    Difference(
        "untracked_requests",
        "`do_not_track` and `exclude_all_metrics` leave out requests that never reach the view, "
        "too: `OPTIONS`, and what a `before_request` function answers.",
    ),
    Difference(
        "unknown_arguments",
        "Unknown keyword arguments raise TypeError; the exporter ignored them.",
    ),
    Difference(
        "attributes_of_hooks",
        "`group_by` names an attribute that the framework's request class, or a class of the "
        "program's own, has; for one that a hook sets, pass a function.",
    ),
    Difference(
        "impossible_values",
        "Values that cannot work raise `ValueError` or `TypeError` when they are given: equal "
        "buckets, which Prometheus refuses, a `path` with a variable part, patterns of bytes; the "
        "exporter accepted them.",
    ),
    Difference(
        "excluded_paths",
        "`metrics.excluded_paths` is what was passed, not a list of compiled patterns.",
    ),
    Difference(
        "info_values",
        "`info` with more label values than names raises ValueError.",
    ),
    Difference(
        "many_apps",
        "One object measures every application that it is given, also twice, and one application "
        "may have several objects; the exporter did not record the second application's requests.",
    ),
    Difference(
        "same_definition",
        "Defining a metric or an `info` again with the same labels and buckets reuses it, and "
        "with other ones raises a ValueError that names both, also for the default metrics.",
    ),
    Difference(
        "metrics_endpoint",
        "No request for the metrics endpoint is in the default metrics; the exporter counted "
        "`OPTIONS` and those that `metrics_decorator` refused. The endpoint's name is always "
        "`prometheus_metrics`.",
    ),
    Difference(
        "scrapes",
        "Scrapes are compressed for clients that accept gzip, a newer OpenMetrics than 1.0.0 is "
        "answered with that, and a malformed `Accept` header gets the text format; the exporter "
        "answered it with 500.",
    ),
    Difference(
        "names_of_families",
        "`name[]`, and `names` of `generate_metrics`, find a family by its own name, too; the "
        "exporter found only samples.",
    ),
    Difference(
        "host_matching",
        "With `host_matching` the metrics are served on every host, where the exporter served "
        "none, and with `subdomain_matching`, too, where the exporter served them at `SERVER_NAME` "
        "only.",
    ),
    Difference(
        "reloader",
        "Metrics are served under the reloader, too; `DEBUG_METRICS` is not needed.",
    ),
    Difference(
        "http_server",
        "`start_http_server` serves nothing but its path, takes the port 0, waits for a port that "
        "is taken, and returns an object with `port`, `url` and `close()`; that of the classes for "
        "several workers serves at every path, as the exporter's does.",
    ),
    Difference(
        "shared_directory",
        "The directory of `PROMETHEUS_MULTIPROC_DIR` is made where it is missing; the exporter's "
        "classes for several workers failed.",
    ),
    Difference(
        "shared_gauges",
        "With several workers a decorator's gauge is the sum over the workers that live, unless "
        "`multiprocess_mode` says otherwise; the exporter had a series for each process that there "
        "ever was.",
    ),
    Difference(
        "shared_functions",
        "With several workers `set_function` of what `info` returns works: the worker that answers "
        "a scrape asks its own function; the exporter showed 1.",
    ),
    Difference(
        "shared_tls",
        "`start_http_server` of the classes for several workers heeds `ssl`; the exporter served "
        "without TLS.",
    ),
    Difference(
        "uwsgi_server",
        "`UWsgiPrometheusMetrics` serves its port from the first worker, with `lazy-apps`, too; "
        "the exporter did from the master process, where threads can leave new workers hanging.",
    ),
    Difference(
        "contexts_made_by_hand",
        "A request context that was made by hand (`app.test_request_context()`) does not "
        "count as a request: only decorators record there.",
    ),
    Difference(
        "connexion",
        "`ConnexionPrometheusMetrics` knows Connexion 3, beside 2.15: `init_app` takes the "
        "`connexion.FlaskApp`, the status is the one that the client saw, requests that Connexion "
        "rejects count, and `default_mimetype` is accepted and not needed: Connexion writes bodies "
        "by its specification, and `content_type` sets the header; the exporter wrote bodies of "
        "decorated functions by these types.",
    ),
)
