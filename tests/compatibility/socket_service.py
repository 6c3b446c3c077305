"""The service of Gunicorn in the tests of sockets that extensions take over: `app`."""

from __future__ import annotations

import os
from typing import Any

import flask
import flask_sock
import flask_socketio

from promweb import PrometheusMetrics

app = flask.Flask(__name__)
socket_io = flask_socketio.SocketIO(app, async_mode=os.environ["ASYNC_MODE"])
socket_io.on_event("echo", lambda text: flask_socketio.emit("echo", text))
sock = flask_sock.Sock(app)


@sock.route("/echo")
def echo(ws: Any) -> None:
    ws.send(ws.receive())


PrometheusMetrics(app, group_by="url_rule", in_progress=True)
