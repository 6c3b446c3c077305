"""Connexion: an ASGI stack around Flask, which decides on the response.

Connexion lets errors leave Flask and makes responses of them outside. So an exchange begins and
ends in an ASGI middleware around that; Flask's adapter, which finds it in the context, adds what
only Flask knows. Labels are resolved when the client's status is known, in the context of Flask's
dispatch, which has been copied for that.

Connexion 2.15 is all inside of Flask, so Flask's adapter measures it.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

import flask

from ..core.decorators.wrapping import wrap
from ..core.requests.exchange import ANSWERED, GONE, Outcome
from ..core.requests.scope import current
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

    One of Connexion 2.15 is measured as any Flask application. With Connexion 3:

    * Statuses are those that the client saw: `abort()` and a `ProblemException` are answers; what
      no error handler was registered for is a 500 and counts in `exceptions_total`.
    * Requests that Connexion rejects before Flask (validation, security) are grouped by the route
      that Flask would have called: `path`, `endpoint` (Connexion's, `/v1.module_function`) and
      `url_rule` are the same as for the requests it accepts. What Connexion's routing does not
      pass on is `<unmatched>`: unknown paths and methods, the Swagger UI and the specification.
    * Label callables of one argument see Flask's response where it is the one that was sent, else
      an empty one with the status and headers that were sent.
    * Requests straight to the Flask application (`app.app.test_client()`) are Flask's alone.

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
        """Take `PrometheusMetrics`' arguments; `default_mimetype` is accepted and not needed.

        Views are not converted for labels to be seen, so Connexion chooses the Content-Type.
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

        A type of text that names no charset gets `; charset=utf-8`, as Flask's responses do. The
        body is what Connexion makes of the return value by its specification.

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
    connexion = sys.modules.get("connexion")  # whoever has an application has imported it
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
    except ImportError:  # Connexion 2 has none
        return
    app.add_middleware(_outside, MiddlewarePosition.BEFORE_EXCEPTION, site=site)
    app.add_middleware(_Raising, MiddlewarePosition.BEFORE_SWAGGER, connexion_app=app)
    app.add_middleware(_Routed, MiddlewarePosition.BEFORE_SECURITY)


class _Exchange(ASGIExchange):
    """One request to Connexion: what Flask answers is kept until the client has a status."""

    routed = False
    """Whether Connexion's routing passed the request on."""
    _answer: Any = None

    @property
    def scope(self) -> Message:
        return self._scope

    @scope.setter
    def scope(self, scope: Message) -> None:
        self._scope = dict(scope)  # routers change it

    def respond(self, status: int, response: object = None) -> None:
        """Keep Flask's response, None for an exception, and the context to resolve labels in."""
        if self.status:
            return
        self._answer = response
        self.context = copy_context()
        if response is None:
            self.failed = False  # Connexion decides: a handler may be waiting for it

    async def respond_async(self, status: int, response: object = None) -> None:
        self.respond(status, response)

    def see_head(self, message: Message) -> None:
        super().see_head(message)
        self._answered(message["status"], message.get("headers", ()))

    def finish(self, outcome: Outcome = ANSWERED) -> None:
        if not self.finished:
            if outcome is GONE:
                self.failed = False
            self._answered(self.sent or int(outcome) or 500)
        super().finish(outcome)

    def _answered(self, status: int, headers: Any = ()) -> None:
        """Take what the client got and resolve every label; only the first call counts."""
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
        context.run(super().respond, status, response)

    def _imagine_request(self) -> None:
        """Make the request and context that Flask would have, had it been asked for a response.

        It was not where Connexion answers itself, or the request ends while a view still runs.
        """
        imagined = self.site.app.request_context(_environ(self.scope))
        self.context = copy_context()
        self.context.run(current.set, self)
        if self.site.labelled:
            # Pushed for the label callables, in a context that is dropped: popping it would call
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
    """Just inside of Connexion's error handlers: sees what they are about to get."""

    def __init__(self, app: ASGIApp, connexion_app: Any) -> None:
        self._app = app
        self._connexion_app = connexion_app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            exchange = current.get()
            if isinstance(exchange, _Exchange):
                exchange.failed = not self._is_handled(error)
                exchange.see_exception()
            raise

    def _is_handled(self, error: Exception) -> bool:
        """Tell whether the exception has a handler, other than Connexion's for what has none."""
        from starlette.exceptions import HTTPException  # also Connexion's ProblemException's base

        handlers = self._connexion_app.middleware.error_handlers
        classes = {HTTPException, *(known for known, _ in handlers)}
        return not classes.isdisjoint(type(error).__mro__)


class _Routed:
    """Just inside of Connexion's routing: whatever arrives here has a route, or is Flask's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        exchange = current.get()
        if isinstance(exchange, _Exchange):
            exchange.routed = True
        await self._app(scope, receive, send)


class _ContentType:
    """`content_type`: no measurement, but a header on the response of the current request."""

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
