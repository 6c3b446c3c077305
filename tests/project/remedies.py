"""The causes and remedies of messages that do not tell them, and the messages that no user sees.

A key is the module, the function and a number where the function has several messages, as
`tests/project/messages.py` finds them.
"""

from __future__ import annotations

from promweb.adapters.insight.watchdog import UNSEEN

__all__ = ["CAUSES", "INTERNAL", "REMEDIES"]

INTERNAL = (
    "__init__.__getattr__",  # Python's own
    "client_library.",
    "family.Family._find_room",
    "problems.Problems.failed",  # the frame of the lines of its callers
    "reading.",
    "writing.",
)
"""Where messages begin that promweb itself handles."""

_BUG = "promweb caught an exception and logged its traceback. The request got its usual answer."
_REPORT = (
    "If the traceback leads into your program or a library, correct it there. Otherwise report it."
)
_DISK = "The disk is full, or the directory cannot be written to."
_ROOM = "Make room, or set PROMETHEUS_MULTIPROC_DIR to a directory that each worker can write to."
_PORT = "Another process has the port."
_CUT = "The connection ended before the whole answer had arrived."
_SERVICE = "Look at the log of the service, and at proxies between it and promweb."
_ADDRESS = "Check the URL: it has to be the metrics of a service, as a browser shows them."

CAUSES = {
    "answering._Answer.log_exception": "The metrics view raised, or the client went away.",
    "callbacks.RequestCallbacks._show": _BUG,
    "callbacks.RequestCallbacks._show 2": "The function raised; its traceback is in the log.",
    "calls.Calls.failed": _BUG,
    "catalog.Catalog._keep_function": "A function of `set_function` raised.",
    "client_files.ClientFile._fail": _DISK,
    "connection.Connection._find_labels": _BUG,
    "connection.Connection._record": _BUG,
    "connection.Connection.accepted": _BUG,
    "connection.Connection.message": _BUG,
    "connection.Connection.record_steps": _BUG,
    "connections.ConnectionServer.handle_error": "A client went away or sent nonsense.",
    "connexion._Exchange._imagine_request": _BUG,
    "exchange.Exchange.dispatch": _BUG,
    "exemplars.exemplar_reader 3": "The function of `exemplar` raised, or returned no labels.",
    "factories.InstrumentFactories.histogram": "A histogram has `native_histograms`.",
    "file_storage.FileStorage.look": "Somebody or something cleans the directory.",
    "file_storage.FileStorage._cannot_write": _DISK,
    "http.MetricsServer._take_over": "The process that had the port has ended.",
    "metrics.MetricsBase.__init__": "The application has `native_histograms`.",
    "mistakes.warn_of_routes": "A decorator is above the route, so the route has the function "
    "without it.",
    "mistakes.warn_of_routes 2": _BUG,
    "multiprocess.UWsgiPrometheusMetrics.start_http_server": _PORT,
    "options._deprecated": "The argument is deprecated, as it was in prometheus_flask_exporter.",
    "problems.Problems.label_error": "The function of a label raised; its traceback is in the log.",
    "problems.Problems.misused": "An instrument was called with wrong labels or a wrong amount.",
    "problems.tell_disabled": "The environment has PROMWEB_DISABLED=1.",
    "recording.RequestRecorder._record": _BUG,
    "scope.Scope.leave": _BUG,
    "scrape.answer": "A collector of the registry raised; its traceback is in the log.",
    "setup.enable": "Metrics that were created before keep their numbers in this process.",
    "setup.mark_process_dead": _DISK,
    "setup.storage_of": "prometheus_client decides when a metric is created.",
    "setup.storage_of 2": "The directory of PROMETHEUS_MULTIPROC_DIR cannot be used.",
    "shared.WebMetrics.start_http_server": _PORT,
    "shared.WebMetrics.start_http_server 2": "The reloader runs the program twice, and the first "
    "process has the port.",
    "site.Site.count_in_progress": _BUG,
    "site.Site.decorate_view": "A decorator of `register_default` raised.",
    "site.Site.make_response": _BUG,
    "watchdog._Log.__call__": "Code at this line computed, or waited without `await`, in the event "
    f"loop. `at {UNSEEN}`: it was over before promweb could look, because it was one long call of "
    "C or the machine was busy. `outside of requests`: another task ran it, such as a "
    "background task. `and still does`: it goes on for 10 s or more.",
    "worker_metrics.WorkerMetrics.announce": _DISK,
    "wsgi._follow": _BUG,
}

REMEDIES = {
    "connection.Connection.record_steps": _REPORT,
    "flask.PrometheusMetrics._look_inside": "Leave the argument out until the service is on Quart.",
    "guard.LoopFree.__exit__": "Await what the line waits for, or move it to a thread.",
    "quart.AsyncPrometheusMetrics.thread_pool": "Pass threads=True.",
    "recording.RequestRecorder._record_now": _REPORT,
    "watchdog._Log.__call__": "Await what the line waits for, or move it to a thread: "
    "[Your Quart service is slow](slow-quart-service.md#minute-5-the-remedy). Without a line, see "
    "[what to do](slow-quart-service.md#minute-1-read-the-log).",
    # Lines of the log.
    "answering._Answer.log_exception": "Correct what the traceback shows.",
    "callbacks.RequestCallbacks._show": _REPORT,
    "callbacks.RequestCallbacks._show 2": "Correct the function.",
    "calls.Calls.failed": _REPORT,
    "catalog.Catalog._keep_function": "Correct the function.",
    "client_files.ClientFile._fail": _ROOM,
    "connection.Connection._find_labels": _REPORT,
    "connection.Connection._record": _REPORT,
    "connection.Connection.accepted": _REPORT,
    "connection.Connection.message": _REPORT,
    "connections.ConnectionServer.handle_error": "Nothing.",
    "connexion._Exchange._imagine_request": _REPORT,
    "directory_reader.DirectoryReader._skip": "Remove the file while the server is stopped.",
    "directory_reader.DirectoryReader.compact": _ROOM,
    "early.early_labels": "Give the default label a function without an argument, or accept that "
    "these families omit it.",
    "exchange.Exchange.dispatch": _REPORT,
    "exemplars.exemplar_reader 3": "Have the function return a dictionary of short texts, or None.",
    "factories.InstrumentFactories.histogram": "Have your Prometheus take native histograms.",
    "file_storage.FileStorage.look": "Exclude the directory from the cleaning.",
    "file_storage.FileStorage._cannot_write": _ROOM,
    "http.MetricsServer._take_over": "Nothing.",
    "metrics.MetricsBase.__init__": "Have your Prometheus take native histograms.",
    "mistakes.misplaced": "Put it below the route decorator.",
    "mistakes.warn_of_routes": "Put it below the route decorator.",
    "mistakes.warn_of_routes 2": _REPORT,
    "multiprocess.UWsgiPrometheusMetrics.start_http_server": "Choose another port, or end that "
    "process.",
    "multiprocess._warn_internal": "Use the class that the message names.",
    "options._deprecated": "Write the argument that the message names.",
    "problems.Problems.label_error": "Correct the function. Watch promweb_label_errors_total.",
    "problems.Problems.misused": "Correct the call at this line.",
    "problems.tell_disabled": "Remove the variable to measure.",
    "recording.RequestRecorder._record": _REPORT,
    "scope.Scope.leave": _REPORT,
    "scrape.answer": "Correct the collector. The scrape answers 500 until then.",
    "setup.mark_process_dead": _ROOM,
    "setup.storage_of 2": _ROOM,
    "shared.WebMetrics.start_http_server": "Nothing, if workers share the port. Otherwise choose "
    "another one.",
    "shared.WebMetrics.start_http_server 2": "Nothing.",
    "site.Site.count_in_progress": _REPORT,
    "site.Site.decorate_view": "Correct the decorator.",
    "site.Site.make_response": _REPORT,
    "worker_metrics.WorkerMetrics.announce": _ROOM,
    "wsgi._follow": _REPORT,
    # Errors.
    "applications.Applications._protected": "Have the decorator return the function.",
    "arguments.argument_reader": "Write the name of one of the function's parameters.",
    "callables.ArgumentLabel.__call__": "Use it in labels of a decorator.",
    "callables.takes_argument 2": "Give the other parameters defaults, or wrap the function.",
    "callbacks.check_callback": "Pass a function of one argument.",
    "connexion._flask_app": "Pass the connexion.FlaskApp.",
    "direct.Direct.refuse": "Pass a number.",
    "direct.Direct.refuse 2": "Use a gauge for what goes down.",
    "direct.Direct.refuse_positions": "Give the values by name, as in `labels(kind='gift')`.",
    "direct.Direct.refuse_positions 2": "Give the metric `labelnames`, or leave the values out.",
    "direct.Direct.refuse_positions 3": "Give the values by name, as in `labels(kind='gift')`.",
    "direct.Direct.refuse_value": "Give labels by name, as in `inc(3, kind='gift')`.",
    "exemplars._checked": "Return shorter or fewer labels.",
    "flask.PrometheusMetrics._check_app": "Pass the Flask application, or use the class of your "
    "framework.",
    "group_by.Grouping.__init__ 3": "Give the function another name.",
    "group_by.check_attribute": "Write the name of an attribute, or pass a function.",
    "instrument.check_decorates 2": "Use one of the modes that the message names.",
    "labels._chooser": "Write the name as text.",
    "labels._chooser 2": "Write the default as text.",
    "labels._values": "Pass a list or a set.",
    "labels._values 2": "List the values to let through, or leave `allowed` out.",
    "metrics.MetricsBase.info 2": "Give as many values as names.",
    "multiprocess._uwsgi": "Use PrometheusMetrics outside of uWSGI.",
    "mistakes.called_first": "Write the call that the message shows above the function.",
    "mistakes.check_decorators": "Pass decorators.",
    "names._odd_label": "Use letters, digits and underscores.",
    "names.check_label_name": "Use letters, digits and underscores.",
    "names.name_problem 2": "Write the name as text.",
    "options.read_default_labels": "Write default_labels={'name': value}.",
    "readers.read_labelnames 2": "Write each name once.",
    "plan.LabelPlan.__init__ 2": "Leave the label out of one of the two.",
    "ports.port_number": "Write such a number.",
    "quart.AsyncPrometheusMetrics._check_app": "Pass the Quart application, or use the class of "
    "your framework.",
    "security.Guard._refuse": "Call the view in a request.",
    "security._digests": "Write the secret as text.",
    "security._digests 2": "Write the SHA-256 of the secret in hexadecimal digits.",
    "security._digests 4": "Strip the text that was read from a file.",
    "security._network 2": "Write the network as text.",
    "security.all_of": "Pass decorators of promweb.security.",
    "security.allow_networks 2": "Write how many proxies there are.",
    "testing.MetricDelta._check": "Write one of the labels that the samples have.",
    "tls.server_context 4": "Check both files: they must be PEM and belong together.",
    "wrapping.wrap": "Decorate a function.",
    # The command line.
    "client_options._context": "Name a file of certificates in PEM form.",
    "client_options._headers": "Write --header 'Name: value'.",
    "dashboard._uid": "Write a shorter or plainer text.",
    "diff._refuse_nothing": "Name the metrics of an application that promweb or "
    "prometheus_flask_exporter measures.",
    "diff._requests": "Write requests with GET, or allow other methods with --method.",
    "diff._senders 3": "Write what the message shows.",
    "diff._sides 3": "Name a file for one of the two.",
    "diff._sides 4": "Name each service once.",
    "diff._sides 5": "Write --old or --new before it.",
    "diff.command": "Leave these options out, or give a URL in place of --app.",
    "diff.command 2": "Add --replay FILE.",
    "files._documents": "Name a dashboard in JSON or rules in YAML.",
    "files.read_file 2": "Check that the file is there and may be read.",
    "http_client.Client._fetch": _SERVICE,
    "http_client.Client._fetch 2": _SERVICE,
    "http_client.Client._pieces": _SERVICE,
    "http_client.Client._pieces 2": _SERVICE,
    "http_client.Client._pieces 3": "Reduce the number of series, or ask for fewer names.",
    "http_client.Client.json": "Check the URL: it has to be that of a Prometheus.",
    "http_client.Client.scrape": _ADDRESS,
    "http_client.metrics_url 4": "Write a host, as in localhost:5000.",
    "replay._status": "Check that the service runs and answers.",
    "rules._check_window": "Do what the end of the message says.",
    "selectors._selector": "Write one matcher with =~ and a regular expression.",
    "selectors.check_matchers": 'Write matchers alone, as in job="shop".',
    "service_options._check_threshold": "Choose one of the bounds.",
    "service_options._checked": "Correct the option that the message names.",
    "service_options._percent": "Write a smaller percentage, as in 99.9.",
    "service_options._percent 2": "Write a percentage, as in 99.9.",
    "service_options._read 2": "Write the option that the message shows.",
    "service_options._selector": "Quote the matchers as the message shows.",
    "service_options.service_options 2": "Leave --latency-threshold out, or --summary.",
    "settings.metrics_objects": "Name a Flask or Quart application.",
    "settings.settings_of": "Create a metrics object with export_defaults=True.",
    "counts.bound_of": _ADDRESS,
    "counts.count_of": _ADDRESS,
    "snapshot._group": "Add --group with one of the labels.",
    "snapshot._group 2": "Write one of the labels that the message lists.",
    "snapshot._naming": "Write one of the prefixes that the message lists.",
    "snapshot._naming 2": _ADDRESS,
    "sources.Source.of": "Check the name of the file, or write a URL.",
    "sources.Source.read": "Check that the file has an exposition.",
    "sources.Source.read 2": "Check that the file may be read.",
    "targets._call": "Name a plain function that returns the application.",
    "targets._import": "Run the command where the module is, or write its path.",
    "top._urls": "Name each URL once.",
}
