"""Flask-RESTful: decorated methods of resources, labels from their responses, aborts."""

from __future__ import annotations

from typing import Any

import flask_restful
from flask import Flask, request
from prometheus_client import CollectorRegistry


def make_app(library: Any, registry: CollectorRegistry) -> Flask:
    app = Flask(__name__)
    metrics = library.RESTfulPrometheusMetrics.for_app_factory(
        group_by="endpoint", registry=registry
    )

    class Todo(flask_restful.Resource):
        @metrics.summary(
            "todo_by_status", "Todos by status", labels={"status": lambda r: r.status_code}
        )
        def get(self, number):
            if number == 0:
                flask_restful.abort(404, message="there is no number 0")
            if number < 0:
                raise ValueError("negative")
            return {"todo": number}, 200

        @metrics.counter(
            "todo_writes",
            "Todos written",
            labels={"status": lambda r: r.status_code, "path": lambda: request.path},
        )
        def put(self, number):
            return {"todo": number}, 201, {"X-Made": str(number)}

        @metrics.histogram(
            "todo_deletes", "Todos deleted", labels={"status": lambda r: r.status_code}
        )
        def delete(self, number):
            return None, 204

        def patch(self, number):
            return {"patched": number}

    class Todos(flask_restful.Resource):
        method_decorators = (
            metrics.counter("todo_lists", "Lists of todos", labels={"kind": "list"}),
        )

        def get(self):
            return [{"todo": 1}], 200

        def post(self):
            raise RuntimeError("cannot write")

    api = flask_restful.Api(app)
    api.add_resource(Todo, "/todos/<int(signed=True):number>")
    api.add_resource(Todos, "/todos")
    metrics.init_app(app, api)
    return app


REQUESTS = [
    ("GET", "/todos/1"),
    ("GET", "/todos/0"),
    ("GET", "/todos/-1"),
    ("PUT", "/todos/1"),
    ("DELETE", "/todos/1"),
    ("PATCH", "/todos/1"),
    ("POST", "/todos/1"),
    ("GET", "/todos"),
    ("POST", "/todos"),
    ("GET", "/nothing"),
    ("GET", "/metrics"),
]
