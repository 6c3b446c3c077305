"""Connexion: an ASGI stack around Flask, which makes the final response.

Connexion lets errors leave Flask and turns them into responses outside. So an exchange begins and
ends in an ASGI middleware around that. Flask's adapter finds the exchange in the context, and adds
the facts that only Flask knows. Labels are resolved when the client's status is known, in a copy of
the context of Flask's dispatch.

Connexion 2.15 runs inside of Flask, so Flask's adapter measures it.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

import flask

from ..core.decorators.wrapping import wrap
from ..core.requests.exchange import ANSWERED, GONE, Outcome
from ..core.requests.scope import get_scope, set_scope
from ..core.requests.site import Site
from .flask import CONNEXION, PrometheusMetrics
from .protocols.asgi import ASGIApp, ASGIExchange, Message, Receive, Send, instrument

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..core.arguments import Arguments

__all__ = ["ConnexionPrometheusMetrics"]

F = TypeVar("F", bound=Callable[..., Any])


class ConnexionPrometheusMetrics(PrometheusMetrics):
    """`PrometheusMetrics` for a `connexion.FlaskApp` of Connexion 3 or 2.15.

    Connexion 2.15 is measured like any Flask application. With Connexion 3:

    * Statuses are those that the client saw: `abort()` and a `ProblemException` are answers; an
      exception without an error handler is a 500 and counts in `exceptions_total`.
    * Requests that Connexion rejects before Flask (validation, security) are grouped by the route
      that Flask would have called: `path`, `endpoint` (Connexion's, `/v1.module_function`) and
      `url_rule` are the same as for accepted requests. Requests that Connexion's routing does not
      pass on are `<unmatched>`: unknown paths and methods, the Swagger UI and the specification.
    * Label callables of one argument get Flask's response if the client got it, otherwise an empty
      one with the client's status and headers.
    * Flask alone measures requests straight to the Flask application (`app.app.test_client()`).

    `app` in other methods may be the `connexion.FlaskApp` or its Flask application. Attach before
    the first request: Connexion adds no middleware to a running application.

        app = connexion.FlaskApp(__name__)
        metrics = ConnexionPrometheusMetrics(app)
    """

    def __init__(
        self,
        app: Any,
        default_mimetype: str = "application/json",
        **kwargs: Unpack[Arguments],
    ) -> None:
        """Take `PrometheusMetrics`' arguments; `default_mimetype` is accepted but not needed.

        promweb converts no views to read labels, so Connexion chooses the Content-Type.
        """
        self.default_mimetype = default_mimetype
        super().__init__(None, **kwargs)
        if app is not None:
            self.init_app(app)
            self.app: Any = app.app

    def init_app(self, app: Any) -> None:
        """Measure a `connexion.FlaskApp`; doing so again for the same one changes nothing.

        For example:

            metrics = ConnexionPrometheusMetrics.for_app_factory()
            metrics.init_app(connexion_app)
        """
        super().init_app(self._app(app))

    @staticmethod
    def content_type(content_type: str) -> Callable[[F], F]:
        """Return a decorator that forces the Content-Type of a view's response.

        A type of text that names no charset gets `; charset=utf-8`, as Flask's responses do.
        Connexion converts the return value to the body by its specification.

        For example:

            @metrics.content_type("text/csv")
            def export(): ...
        """

        def decorator(function: F) -> F:
            return wrap(function, _ContentType(content_type), "content_type()")

        return decorator

    def _app(self, app: Any) -> Any:
        """Return the Flask application, after attaching to the Connexion application around it."""
        app = super()._app(app)
        if isinstance(app, flask.Flask):
            return app
        flask_app = _flask_app(app)
        if CONNEXION not in flask_app.extensions and not self._disabled:
            flask_app.extensions[CONNEXION] = app
            try:
                _add_middleware(app, self._site(flask_app))
            except BaseException:
                del flask_app.extensions[CONNEXION]
                raise
        return flask_app


def _flask_app(app: Any) -> Any:
    """Return the Flask application of a `connexion.FlaskApp`, or raise `TypeError`."""
    connexion = sys.modules.get("connexion")  # a program with an application has imported it
    flask_app_class = getattr(connexion, "FlaskApp", None)
    if flask_app_class is None or not isinstance(app, flask_app_class):
        raise TypeError(
            f"ConnexionPrometheusMetrics measures a connexion.FlaskApp, not {type(app).__name__}; "
            "Connexion is installed with: pip install 'connexion[flask]>=3'"
        )
    return app.app


def _add_middleware(app: Any, site: Site) -> None:
    try:
        from connexion.middleware import MiddlewarePosition
    except ImportError:  # Connexion 2 has no middleware
        return
    app.add_middleware(_outside, MiddlewarePosition.BEFORE_EXCEPTION, site=site)
    app.add_middleware(_Raising, MiddlewarePosition.BEFORE_SWAGGER, connexion_app=app)
    app.add_middleware(_Routed, MiddlewarePosition.BEFORE_SECURITY)


class _Exchange(ASGIExchange):
    """One request to Connexion: it keeps Flask's answer until the client gets a status."""

    routed = False
    """Whether Connexion's routing passed the request on."""
    _answer: Any = None

    @property
    def scope(self) -> Message:
        return self._scope

    @scope.setter
    def scope(self, scope: Message) -> None:
        self._scope = dict(scope)  # a copy, because routers change it

    def take(self, response: Any) -> Sequence[object]:
        """Keep Flask's response, and the context for labels."""
        if not self.status:
            self._keep(response)
            if response.status_code == 500 and self.signalled:
                self.failed = True
        return ()

    def respond(self, status: int) -> None:
        """Leave the decision about an exception to Connexion: it may have a handler."""
        if not self.status:
            self._keep(None)
            self.failed = False

    def _keep(self, answer: Any) -> None:
        self._answer, self.context = answer, copy_context()

    async def respond_async(self, status: int) -> None:
        self.respond(status)

    def see_head(self, message: Message) -> None:
        super().see_head(message)
        self._answered(message["status"], message.get("headers", ()))

    def finish(self, outcome: Outcome = ANSWERED) -> None:
        if self.unfinished:
            if outcome is GONE:
                self.failed = False
            self._answered(self.sent or int(outcome) or 500)
        super().finish(outcome)

    def _answered(self, status: int, headers: Any = ()) -> None:
        """Note the client's response and resolve every label; only the first call counts."""
        if self.status:
            return
        if self.request is None or self.context is None:
            self._imagine_request()
        response = self._answer
        if response is None or response.status_code != status:
            decoded = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
            response = self.site.app.response_class(status=status, headers=decoded)
        # The context refers to this exchange.
        context, self.context, self._answer = self.context, None, None
        assert context is not None
        self.signalled = False  # Connexion has answered an exception by now
        if super().take(response):
            context.run(self.resolve)

    def _imagine_request(self) -> None:
        """Make the request and context that Flask would have made.

        Flask made none if Connexion answers itself, or if the request ends while a view still runs.
        """
        imagined = self.site.app.request_context(_environ(self.scope))
        self.context = copy_context()
        self.context.run(set_scope, self)
        if self.site.labelled:
            # Pushed for the label callables, in a context that is dropped. Popping it would call
            # the application's teardown functions for a request that never began there.
            try:
                self.context.run(imagined.push)
            except Exception:
                self.site.problems.failed("open a request context")
        elif imagined.url_adapter is not None:  # there is none for an untrusted host
            imagined.match_request()
        if not self.routed:
            imagined.request.url_rule = None
        self.dispatch(imagined.request)


def _outside(app: ASGIApp, site: Site) -> ASGIApp:
    """Begin and end exchanges outside of everything that makes responses."""
    return instrument(site, app, _Exchange, has_middleware=False)


class _Raising:
    """Runs just inside of Connexion's error handlers: sees the exceptions that they will get."""

    def __init__(self, app: ASGIApp, connexion_app: Any) -> None:
        self._app = app
        self._connexion_app = connexion_app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            exchange = get_scope()
            if isinstance(exchange, _Exchange):
                exchange.failed = not self._is_handled(error)
                exchange.see_exception()
            raise

    def _is_handled(self, error: Exception) -> bool:
        """Tell whether the exception has a handler other than Connexion's fallback."""
        from starlette.exceptions import HTTPException  # also the base of ProblemException

        handlers = self._connexion_app.middleware.error_handlers
        classes = {HTTPException, *(known for known, _ in handlers)}
        return not classes.isdisjoint(type(error).__mro__)


class _Routed:
    """Runs just inside of Connexion's routing: every request here has a route, or is Flask's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        exchange = get_scope()
        if isinstance(exchange, _Exchange):
            exchange.routed = True
        await self._app(scope, receive, send)


class _ContentType:
    """`content_type`: measures nothing, but sets a header of the current request's response."""

    starts = False

    def __init__(self, content_type: str) -> None:
        self._content_type = content_type

    def bind(self, function: object) -> _ContentType:
        return self

    def begin(self, target: object, args: object, kwargs: object) -> None:
        if flask.has_request_context():
            flask.after_this_request(self._force)

    def _force(self, response: flask.Response) -> flask.Response:
        if ";" in self._content_type:
            response.content_type = self._content_type
        else:
            response.mimetype = self._content_type  # adds the charset
        return response


def _environ(scope: Message) -> dict[str, Any]:
    """Return the WSGI environment of a request whose body was not read (PEP 3333, ASGI 3)."""
    root: str = scope.get("root_path", "")
    server, client = scope.get("server") or ("localhost", 80), scope.get("client") or ("", 0)
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root.encode().decode("latin-1"),
        "PATH_INFO": scope["path"].removeprefix(root).encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "asgi.scope": scope,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        name, value = (
            raw_name.decode("latin-1").upper().replace("-", "_"),
            raw_value.decode("latin-1"),
        )
        key = name if name in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{name}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ
