"""Checks of an application: groups, paths, prefixes, decorators, and its metrics endpoint."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable
from typing import Any

from ...core.defaults.vocabulary import OTEL
from ...core.families.catalog import Catalog
from ...core.families.storage import DIRECTORY_VARIABLE, shared_directory
from ...core.mistakes import BELOW, misplaced, series_by_path
from ...core.names import prefix_problem
from ...core.native.advice import in_short
from ...core.options import NO_PREFIX
from ..loading.isolation import sharing_nothing
from .findings import Findings, error, ok, warning
from .importing import explain, listening

__all__ = ["check_application"]

_BY_PATH = ("path", "base_url", "full_path", "url")
"""Values of `group_by` that make a label value of every path."""

_SHOWN = 5
"""How many routes a message names."""

_LITERAL = re.compile(r"[^.^$*+?{}\[\]\\|()]*")


def check_application(load: Callable[[], Any]) -> Findings:
    """Check the application that `load` returns, and report what promweb logs meanwhile."""
    records: list[logging.LogRecord] = []
    with listening(records), sharing_nothing():
        try:
            app = load()
        except (Exception, SystemExit) as fault:
            yield explain(fault)
            return
        # Connexion and others wrap the application in an object of their own.
        if not hasattr(app, "url_map"):
            app = getattr(app, "app", app)
        if not hasattr(app, "url_map") or not hasattr(app, "extensions"):
            yield error(
                "application",
                f"That is not a Flask or Quart application: {type(app).__name__}.",
                "There is nothing to check.",
                "Name the application as module:app, or a function that makes it as "
                "module:create_app().",
            )
            return
        site = app.extensions.get("promweb")
        # A site without these comes from a decorator or another endpoint, not from init_app.
        if site is None or not (site.owners or site.recorders):
            yield error(
                "application",
                "promweb does not measure this application.",
                "None of its requests are counted.",
                "Pass it to PrometheusMetrics(app). A metrics object of for_app_factory() measures "
                "nothing until the function that makes the application calls init_app(app).",
            )
            return
        found = [
            *_check_mode(site),
            *_check_groups(app, site),
            *_check_excluded(app, site),
            *_check_prefixes(site),
            *_check_decorators(app),
            *_check_debug(app),
            *_check_endpoint(app, site),
        ]
    told = {
        *(prefix_problem(owner.defaults_prefix) for owner in site.owners),
        *(f"{what} {BELOW}" for what in misplaced(app.view_functions)),
        *series_by_path(site),
    }
    found += [
        warning("logged", message, "promweb logged this at start-up.", "Do what the message says.")
        for message in map(logging.LogRecord.getMessage, records)
        if message not in told
    ]
    yield from found or [ok("application", f"{len(_rules(app, site))} routes are measured.")]
    yield from _check_native(site)
    yield from _check_event_loop(site)


def _check_mode(site: Any) -> Findings:
    if shared_directory() and not all(Catalog.is_shared(owner.registry) for owner in site.owners):
        yield error(
            "variable-late",
            f"{DIRECTORY_VARIABLE} was set after metrics had been made.",
            "These metrics stay in this process; the workers do not share them.",
            "Set it before the program starts, or call promweb.multiprocess.enable() before "
            "metrics are made.",
        )


def _check_native(site: Any) -> Findings:
    if any(owner.native_histograms for owner in site.owners):
        yield ok(
            "native-histograms",
            f"Durations have native buckets. {in_short()} "
            "Run promweb doctor --prometheus URL to check your Prometheus.",
        )


def _check_event_loop(site: Any) -> Findings:
    on_quart = [owner for owner in site.owners if owner._coroutines]
    if on_quart and not any(owner.event_loop for owner in on_quart):
        yield ok(
            "event-loop",
            "Nobody watches whether a view blocks the event loop. "
            "AsyncPrometheusMetrics(app, event_loop=True) does: the log names the line, and "
            "metrics name the route.",
        )


def _check_groups(app: Any, site: Any) -> Findings:
    variable = [rule.rule for rule in _rules(app, site) if rule.arguments]
    for owner in site.owners:
        by_path = owner.naming == "promweb" and owner.group_by in _BY_PATH
        if owner._export_defaults and by_path and variable:
            more = f" and {len(variable) - _SHOWN} more" if len(variable) > _SHOWN else ""
            yield warning(
                "unbounded",
                f"group_by={owner.group_by!r}, and routes have variable parts: "
                f"{', '.join(variable[:_SHOWN])}{more}.",
                "Each path makes its own label set, up to "
                f"{owner.max_series:,}; all others become <overflow>.",
                'Use group_by="url_rule", which makes one label set for each route.',
            )


def _check_excluded(app: Any, site: Any) -> Findings:
    rules = _rules(app, site)
    for owner in site.owners:
        for pattern in owner._options.excluded_paths:
            if not any(_may_match(pattern, rule) for rule in rules):
                yield warning(
                    "excluded-paths",
                    f"excluded_paths has {pattern.pattern!r}, which matches no route.",
                    "It can exclude only requests that match no route. A pattern has to match "
                    "from the start of the path, with its slash.",
                    "Correct it, or leave it out.",
                )


def _may_match(pattern: re.Pattern[str], rule: Any) -> bool:
    """Tell whether a pattern may match a path of a rule; in doubt, return True."""
    if not rule.arguments:
        return pattern.match(rule.rule) is not None
    if "|" in pattern.pattern or pattern.flags & re.IGNORECASE:
        return True
    start = rule.rule.partition("<")[0]
    text = pattern.pattern.removeprefix("^")
    literal = _LITERAL.match(text)
    assert literal is not None, "the pattern matches the empty text, too"
    wanted = literal[0]
    if text[len(wanted) : len(wanted) + 1] in ("*", "?", "{"):
        wanted = wanted[:-1]
    return start.startswith(wanted) or wanted.startswith(start)


def _check_prefixes(site: Any) -> Findings:
    # OpenTelemetry's names beside flask_ names are how dashboards move from one to the other.
    names = sorted({recorder.identity.name for recorder in site.recorders} - {OTEL.duration})
    if len(names) > 1:
        yield warning(
            "prefixes",
            f"Every request is recorded {len(names)} times, as {' and '.join(names)}.",
            "Two metrics objects measure this application with different prefixes.",
            "Remove one of them, or give it export_defaults=False.",
        )
    for owner in site.owners:
        prefix = owner.defaults_prefix
        if prefix != NO_PREFIX and prefix.endswith("_"):
            yield warning(
                "prefixes",
                f"defaults_prefix={prefix!r} ends with an underscore.",
                f"promweb adds another, so the names start with {prefix}_.",
                f"Write {prefix.rstrip('_')!r}.",
            )
        stem = prefix.rstrip("_")
        if stem.endswith("http"):
            stem = stem.removesuffix("http").rstrip("_")
            yield warning(
                "prefixes",
                f"defaults_prefix={prefix!r} ends with http.",
                f"The names continue with http, so they start with {prefix}_http.",
                f"Write {stem!r}." if stem else "Write promweb.NO_PREFIX for names without prefix.",
            )


def _check_decorators(app: Any) -> Findings:
    for what in misplaced(app.view_functions):
        yield warning(
            "decorators",
            what,
            "No request reaches the decorator, so it counts nothing and excludes nothing.",
            BELOW,
        )


def _check_debug(app: Any) -> Findings:
    if app.debug:
        yield warning(
            "debug",
            "The application is in debug mode.",
            "The reloader runs it twice: the first process takes start_http_server's port, and "
            "the second one uses another. Exceptions leave the application.",
            "Turn debug mode off where Prometheus scrapes.",
        )


def _check_endpoint(app: Any, site: Any) -> Findings:
    paths = [path for path, (what, _) in site.served.items() if what == "metrics"]
    if not paths:
        yield ok("endpoint", "The application does not serve the metrics (path=None).")
    for path in paths:
        if app.url_map.host_matching:
            continue
        try:
            status, kind, is_own = _ask(app, site, path)
        except Exception as fault:
            yield warning(
                "endpoint",
                f"{path} could not be requested: {type(fault).__name__}: {fault}",
                "The request failed in this process; the running service may behave differently.",
                "Check the running service: promweb doctor --url URL",
            )
            continue
        protected = any(owner.metrics_decorator is not None for owner in site.owners)
        if status in (401, 403) and protected:
            yield ok("endpoint", f"{path} asks for credentials (metrics_decorator): {status}.")
        elif not is_own:
            yield error(
                "endpoint",
                f"{path} belongs to another route.",
                "A route that was registered earlier, or that matches every path, answers instead "
                "of promweb.",
                "Give PrometheusMetrics another path, or exempt it from that route.",
            )
        elif status >= 500:
            yield warning(
                "endpoint",
                f"{path} answered {status}.",
                "The service may do something at its start that this process did not do.",
                "Check the running service: promweb doctor --url URL",
            )
        elif status == 405:
            yield error(
                "endpoint",
                f"{path} does not allow GET.",
                "Prometheus sends only GET.",
                "Find what answers before promweb, such as metrics_decorator or a before_request "
                "function, and let it pass GET.",
            )
        elif status != 200 or not kind.startswith(("text/plain", "application/openmetrics-text")):
            yield error(
                "endpoint",
                f"{path} answered {status} {kind}, which is not promweb's answer.",
                "A before_request function may redirect or ask for a login, or an after_request "
                "function may change the answer. Prometheus gets the same.",
                f"Exempt {path} there; to protect the metrics use metrics_decorator.",
            )
        else:
            yield ok("endpoint", f"{path} answers with metrics.")


def _ask(app: Any, site: Any, path: str) -> tuple[int, str, bool]:
    """Return status and content type of a path, and whether promweb's route answered."""
    adapter = app.url_map.bind("localhost")
    is_own = adapter.match(path, method="GET")[0] in site.endpoints
    client = app.test_client()
    if inspect.iscoroutinefunction(client.get):
        import anyio  # comes with promweb[quart]

        trio = any(base.__module__.startswith("quart_trio") for base in type(app).__mro__)
        reply: Any = anyio.run(client.get, path, backend="trio" if trio else "asyncio")
    else:
        reply = client.get(path)
    return reply.status_code, reply.headers.get("Content-Type", ""), is_own


def _rules(app: Any, site: Any) -> list[Any]:
    """Return the routes, without promweb's and Flask's route for static files."""
    return [
        rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint not in site.endpoints and rule.endpoint != "static"
    ]
