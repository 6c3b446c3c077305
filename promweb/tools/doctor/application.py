"""What an application has that is wrong: groups, paths, prefixes, and its metrics endpoint."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable
from typing import Any

from ...core.defaults.vocabulary import OTEL
from ...core.families.catalog import Catalog
from ...core.families.storage import DIRECTORY_VARIABLE, shared_directory
from ...core.mistakes import BELOW, misplaced
from ...core.names import prefix_problem
from ...core.native.advice import in_short
from ...core.options import NO_PREFIX
from ..loading.isolation import sharing_nothing
from .findings import Findings, error, ok, warning
from .importing import explain, listening

__all__ = ["check_application"]

_BY_PATH = ("path", "base_url", "full_path", "url")
"""What `group_by` may be that tells every path from every other one."""

_SHOWN = 5
"""Routes that are named at most."""

_LITERAL = re.compile(r"[^.^$*+?{}\[\]\\|()]*")


def check_application(load: Callable[[], Any]) -> Findings:
    """Check the application that `load` returns, and what promweb logs meanwhile."""
    records: list[logging.LogRecord] = []
    with listening(records), sharing_nothing():
        try:
            app = load()
        except (Exception, SystemExit) as fault:
            yield explain(fault)
            return
        # What Connexion and others put around an application names it like that.
        if not hasattr(app, "url_map"):
            app = getattr(app, "app", app)
        if not hasattr(app, "url_map") or not hasattr(app, "extensions"):
            yield error(
                "application",
                f"That is no Flask or Quart application: {type(app).__name__}.",
                "There is nothing to look at.",
                "Name the application as module:app, and a function that makes it as "
                "module:create_app().",
            )
            return
        site = app.extensions.get("promweb")
        # A decorator for all views, or another endpoint, is not yet what init_app does.
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
    }
    found += [
        warning("logged", message, "promweb said so at start-up.", "See there.")
        for message in map(logging.LogRecord.getMessage, records)
        if message not in told
    ]
    yield from found or [ok("application", f"{len(_rules(app, site))} routes are measured.")]
    yield from _check_native(site)


def _check_mode(site: Any) -> Findings:
    if shared_directory() and not all(Catalog.is_shared(owner.registry) for owner in site.owners):
        yield error(
            "variable-late",
            f"{DIRECTORY_VARIABLE} was set after metrics had been made.",
            "They are those of one process, whatever it says now.",
            "Set it before the program starts, or call promweb.multiprocess.enable() before "
            "metrics are made.",
        )


def _check_native(site: Any) -> Findings:
    if any(owner.native_histograms for owner in site.owners):
        yield ok(
            "native-histograms",
            f"Durations have native buckets. {in_short()} "
            "promweb doctor --prometheus URL asks yours.",
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
                "Each path becomes a label set of its own, until there are "
                f"{owner.max_series:,}; all others become <overflow>.",
                'Use group_by="url_rule", which has one label set for a route.',
            )


def _check_excluded(app: Any, site: Any) -> Findings:
    rules = _rules(app, site)
    for owner in site.owners:
        for pattern in owner._options.excluded_paths:
            if not any(_may_match(pattern, rule) for rule in rules):
                yield warning(
                    "excluded-paths",
                    f"excluded_paths has {pattern.pattern!r}, which matches none of the routes.",
                    "It excludes nothing but requests that match no route. A pattern has to match "
                    "from the start of the path, with its slash.",
                    "Correct it, or leave it out.",
                )


def _may_match(pattern: re.Pattern[str], rule: Any) -> bool:
    """Tell whether a pattern may match a path of a rule; when in doubt it does."""
    if not rule.arguments:
        return pattern.match(rule.rule) is not None
    if "|" in pattern.pattern or pattern.flags & re.IGNORECASE:
        return True
    start = rule.rule.partition("<")[0]
    text = pattern.pattern.removeprefix("^")
    literal = _LITERAL.match(text)
    assert literal is not None, "it matches nothing, too"
    wanted = literal[0]
    if text[len(wanted) : len(wanted) + 1] in ("*", "?", "{"):
        wanted = wanted[:-1]
    return start.startswith(wanted) or wanted.startswith(start)


def _check_prefixes(site: Any) -> Findings:
    # OpenTelemetry's names beside others are how dashboards move from the ones to the others.
    names = sorted({recorder.identity.name for recorder in site.recorders} - {OTEL.duration})
    if len(names) > 1:
        yield warning(
            "prefixes",
            f"Every request is recorded {len(names)} times, as {' and '.join(names)}.",
            "Two metrics objects measure this application with different prefixes.",
            "Keep one; or give the other export_defaults=False.",
        )
    for owner in site.owners:
        prefix = owner.defaults_prefix
        if prefix != NO_PREFIX and prefix.endswith("_"):
            yield warning(
                "prefixes",
                f"defaults_prefix={prefix!r} ends with an underscore.",
                f"One is added, so the names start with {prefix}_.",
                f"Write {prefix.rstrip('_')!r}.",
            )
        stem = prefix.rstrip("_")
        if stem.endswith("http"):
            stem = stem.removesuffix("http").rstrip("_")
            yield warning(
                "prefixes",
                f"defaults_prefix={prefix!r} ends with http.",
                f"The names go on with http, so they start with {prefix}_http.",
                f"Write {stem!r}." if stem else "Write promweb.NO_PREFIX, which means none.",
            )


def _check_decorators(app: Any) -> Findings:
    for what in misplaced(app.view_functions):
        yield warning(
            "decorators",
            what,
            "No request reaches the decorator, so what it is for does not happen.",
            BELOW,
        )


def _check_debug(app: Any) -> Findings:
    if app.debug:
        yield warning(
            "debug",
            "The application is in debug mode.",
            "The reloader runs it twice, and start_http_server finds its port taken by the first "
            "one, so promweb takes another one then. Exceptions leave the application.",
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
                f"{path} could not be tried: {type(fault).__name__}: {fault}",
                "A request in this process failed; that may be different where it is served.",
                "Look at the running service: promweb doctor --url URL",
            )
            continue
        protected = any(owner.metrics_decorator is not None for owner in site.owners)
        if status in (401, 403) and protected:
            yield ok("endpoint", f"{path} wants credentials (metrics_decorator): {status}.")
        elif not is_own:
            yield error(
                "endpoint",
                f"{path} belongs to another route.",
                "A route that was there before, or one that catches everything, answers instead "
                "of promweb.",
                "Give PrometheusMetrics another path, or exempt it from that route.",
            )
        elif status >= 500:
            yield warning(
                "endpoint",
                f"{path} answered {status}.",
                "Here nothing was started that the service may start first.",
                "Look at the running service: promweb doctor --url URL",
            )
        elif status == 405:
            yield error(
                "endpoint",
                f"{path} does not allow GET.",
                "Prometheus sends nothing else.",
                "Look at what answers before promweb, such as metrics_decorator or a "
                "before_request function, and have it allow GET.",
            )
        elif status != 200 or not kind.startswith(("text/plain", "application/openmetrics-text")):
            yield error(
                "endpoint",
                f"{path} answered {status} {kind}, which is not promweb's answer.",
                "Something answers first, such as a before_request function that redirects or asks "
                "for a login, or changes the answer afterwards. Prometheus is treated like that.",
                f"Have it leave {path} alone; to protect the metrics use metrics_decorator.",
            )
        else:
            yield ok("endpoint", f"{path} answers with metrics.")


def _ask(app: Any, site: Any, path: str) -> tuple[int, str, bool]:
    """Return status and content type of a path, and whether the route is promweb's."""
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
    """Return the routes, but for promweb's and the one that Flask makes for static files."""
    return [
        rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint not in site.endpoints and rule.endpoint != "static"
    ]
