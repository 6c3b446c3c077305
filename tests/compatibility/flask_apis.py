"""Flask extensions for APIs, which answer exceptions themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import apiflask
import connexion
import flask
import flask_restful
import flask_restx
import flask_smorest
import marshmallow
from flask import Flask, abort
from flask.views import MethodView
from flask_marshmallow import Marshmallow

from .programs import Extensions, Visit

EXTENSIONS = Extensions(Flask)

Count = Callable[[Any], Any]


class UserExists(Exception):
    """An exception of the program's own."""


def stream() -> Iterator[str]:
    yield "one half"
    yield "the other"


def broken_stream() -> Iterator[str]:
    yield "one half"
    raise ValueError


def connexion_app(name: str) -> Any:
    """Return the Flask application of a Connexion application, which its extensions have."""
    outer = connexion.FlaskApp(name)
    outer.app.extensions["connexion"] = outer
    return outer.app


def _operation(name: str, *parameters: Any) -> dict[str, Any]:
    answers = {"200": {"description": "ok"}}
    return {"get": {"operationId": name, "parameters": [*parameters], "responses": answers}}


def _parameter(place: str, name: str) -> dict[str, Any]:
    schema = {"type": "integer"}
    return {"in": place, "name": name, "required": place == "path", "schema": schema}


SPECIFICATION = {
    "openapi": "3.0.0",
    "info": {"title": "shop", "version": "1"},
    "servers": [{"url": "/v1"}],
    "paths": {
        "/items/{number}": _operation(
            "item", _parameter("path", "number"), _parameter("query", "many")
        ),
        **{f"/{name}": _operation(name) for name in ("problem", "failure", "aborted", "broken")},
    },
}


@EXTENSIONS.add("connexion", app_class=connexion_app)
def with_connexion(app: Flask, count: Count) -> list[Visit]:
    """Operations, validation, `ProblemException`, `abort()`, exceptions, `openapi.json`"""

    def item(number: int, many: int = 1) -> Any:
        return {"number": number, "many": many}, 201

    def problem(status: int = 409) -> Any:
        raise connexion.ProblemException(status=status, title="no")

    operations = {
        "item": count(item),
        "problem": problem,
        "failure": lambda: problem(500),
        "aborted": lambda: abort(403),
        "broken": lambda: 1 // 0,
    }
    resolver = connexion.Resolver(operations.__getitem__)
    app.extensions["connexion"].add_api(SPECIFICATION, resolver=resolver)
    return [
        Visit("/v1/items/1?many=2", 201, counted=True),
        Visit("/v1/items/1?many=x", 400),
        Visit("/v1/items/x", 404),
        Visit("/v1/items/1", 405, "POST"),
        Visit("/v1/problem", 409),
        Visit("/v1/failure", 500),
        Visit("/v1/aborted", 403),
        Visit("/v1/broken", 500, raises=True),
        Visit("/v1/openapi.json"),
        Visit("/nowhere", 404),
    ]


@EXTENSIONS.add("Flask-RESTful")
def restful(app: Flask, count: Count) -> list[Visit]:
    """Resources, `abort()`, `errors`, exceptions, 404 and 405"""
    api = flask_restful.Api(app, errors={"UserExists": {"message": "exists", "status": 409}})

    @api.resource("/items/<int:number>")
    class Item(flask_restful.Resource):
        @count
        def get(self, number: int) -> Any:
            if number > 9:
                flask_restful.abort(404, message="no such item")
            return {"number": number}, 200, {"X-Item": str(number)}

        def post(self, number: int) -> Any:
            raise UserExists

        def delete(self, number: int) -> Any:
            raise ValueError

    return [
        Visit("/items/1", counted=True),
        Visit("/items/10", 404, counted=True),
        Visit("/items/1", 409, "POST"),
        Visit("/items/1", 500, "DELETE", raises=True),
        Visit("/items/1", 405, "PUT"),
        Visit("/nowhere", 404),
    ]


@EXTENSIONS.add("flask-restx")
def restx(app: Flask, count: Count) -> list[Visit]:
    """Resources, marshalling, `errorhandler`, `abort()`, exceptions, `swagger.json`"""
    api = flask_restx.Api(app, doc="/doc")
    model = api.model("Item", {"number": flask_restx.fields.Integer(required=True)})

    @api.errorhandler(UserExists)
    def exists(error: UserExists) -> Any:
        return {"message": "exists"}, 409

    @api.route("/items/<int:number>")
    class Item(flask_restx.Resource):
        @count
        @api.marshal_with(model)
        def get(self, number: int) -> Any:
            if number > 9:
                abort(404)
            return {"number": number, "secret": 1}

        @api.expect(model, validate=True)
        def post(self, number: int) -> Any:
            raise UserExists

        def delete(self, number: int) -> Any:
            raise ValueError

    return [
        Visit("/items/1", counted=True),
        Visit("/items/10", 404, counted=True),
        Visit("/items/1", 409, "POST", json={"number": 1}),
        Visit("/items/1", 400, "POST", json={}),
        Visit("/items/1", 500, "DELETE", raises=True),
        Visit("/items/1", 405, "PUT"),
        Visit("/nowhere", 404),
        Visit("/swagger.json"),
        Visit("/doc"),
    ]


class ItemSchema(marshmallow.Schema):
    number = marshmallow.fields.Integer(required=True)


@EXTENSIONS.add("flask-smorest")
def smorest(app: Flask, count: Count) -> list[Visit]:
    """Blueprints of method views, arguments, responses, `abort()`, exceptions, `openapi.json`"""
    app.config |= {
        "API_TITLE": "Items",
        "API_VERSION": "1",
        "OPENAPI_VERSION": "3.0.3",
        "OPENAPI_URL_PREFIX": "/",
    }
    items = flask_smorest.Blueprint("items", "items", url_prefix="/items")

    @items.route("/<int:number>")
    class Item(MethodView):
        @count
        @items.response(200, ItemSchema)
        def get(self, number: int) -> Any:
            if number > 9:
                flask_smorest.abort(404, message="no such item")
            return {"number": number}

        @items.arguments(ItemSchema)
        @items.response(201, ItemSchema)
        def post(self, item: Any, number: int) -> Any:
            return item

        def delete(self, number: int) -> Any:
            raise ValueError

    flask_smorest.Api(app).register_blueprint(items)
    return [
        Visit("/items/1", counted=True),
        Visit("/items/10", 404, counted=True),
        Visit("/items/1", 201, "POST", json={"number": 1}),
        Visit("/items/1", 422, "POST", json={"number": "x"}),
        Visit("/items/1", 500, "DELETE", raises=True),
        Visit("/nowhere", 404),
        Visit("/openapi.json"),
    ]


@EXTENSIONS.add("APIFlask", app_class=apiflask.APIFlask)
def api_flask(app: apiflask.APIFlask, count: Count) -> list[Visit]:
    """Input, output, `abort()`, `HTTPError`, exceptions, authentication, `openapi.json`"""
    auth = apiflask.HTTPTokenAuth()

    @auth.verify_token
    def verify(token: str) -> str | None:
        return "someone" if token == "right" else None

    @app.get("/items/<int:number>")
    @app.output({"number": apiflask.fields.Integer()})
    @count
    def item(number: int) -> Any:
        if number > 9:
            apiflask.abort(404, "no such item")
        return {"number": number, "secret": 1}

    @app.post("/items")
    @app.input(ItemSchema)
    @app.auth_required(auth)
    def add(json_data: Any) -> Any:
        raise apiflask.HTTPError(409, "exists")

    app.add_url_rule("/broken", "broken", lambda: 1 // 0)
    app.add_url_rule("/stream", "stream", lambda: flask.Response(stream()))
    right = {"Authorization": "Bearer right"}
    return [
        Visit("/items/1", counted=True),
        Visit("/items/10", 404, counted=True),
        Visit("/items", 409, "POST", json={"number": 1}, headers=right),
        Visit("/items", 422, "POST", json={}, headers=right),
        Visit("/items", 401, "POST", json={"number": 1}),
        Visit("/broken", 500, raises=True),
        Visit("/stream"),
        Visit("/nowhere", 404),
        Visit("/openapi.json"),
        Visit("/docs"),
    ]


@EXTENSIONS.add("flask-marshmallow")
def with_marshmallow(app: Flask, count: Count) -> list[Visit]:
    """Schemas with links, validation errors that an error handler answers"""
    ma = Marshmallow(app)

    class Schema(ma.Schema):  # type: ignore[name-defined, misc]
        number = ma.Integer(required=True)
        link = ma.URLFor("item", values={"number": "<number>"})

    @app.errorhandler(marshmallow.ValidationError)
    def invalid(error: marshmallow.ValidationError) -> Any:
        return error.normalized_messages(), 422

    @app.get("/items/<int:number>")
    @count
    def item(number: int) -> Any:
        return Schema().dump({"number": number})

    @app.post("/items")
    @count
    def add() -> Any:
        return Schema().load(flask.request.get_json())

    return [
        Visit("/items/1", counted=True),
        Visit("/items", 200, "POST", json={"number": 1}, counted=True),
        Visit("/items", 422, "POST", json={}, counted=True),
        Visit("/items", 415, "POST", counted=True),
    ]
