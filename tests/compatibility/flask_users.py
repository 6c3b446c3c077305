"""Flask extensions that know who a request comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cachelib
import flask
import flask_httpauth
import flask_jwt_extended
import flask_login
import flask_session
import flask_wtf
from flask import Flask
from wtforms import StringField

from .flask_apis import Count
from .programs import Answer, Extensions, Visit

EXTENSIONS = Extensions(Flask)

COOKIE = r"(?<=session=)[^;]*|(?<=remember_token=)[^;]*|(?<=[Ee]xpires=)[^;]*"
TOKEN = r"eyJ[\w.-]+"


@EXTENSIONS.add("Flask-Login", hides=COOKIE)
def login(app: Flask, count: Count) -> list[Visit]:
    """`login_user`, remembered too, `login_required`, redirects to the login, a fresh login"""
    manager = flask_login.LoginManager(app)
    manager.login_view = "login"

    class User(flask_login.UserMixin):
        id = "someone"

    @manager.user_loader
    def load(user: str) -> User:
        return User()

    @app.post("/login")
    @count
    def login() -> str:
        flask_login.login_user(User(), remember=True)
        return "welcome"

    @app.get("/account")
    @flask_login.login_required
    @count
    def account() -> str:
        return str(flask_login.current_user.id)

    @app.get("/broken")
    @flask_login.login_required
    def broken() -> str:
        raise ValueError

    @app.post("/logout")
    def logout() -> str:
        return str(flask_login.logout_user())

    return [
        Visit("/account", 302),
        Visit("/login", 200, "POST", counted=True),
        Visit("/account", counted=True),
        Visit("/broken", 500, raises=True),
        Visit("/login", 405),
        Visit("/logout", 200, "POST"),
        Visit("/account", 302),
    ]


@EXTENSIONS.add("Flask-HTTPAuth", hides=COOKIE + r'|(?<=nonce=")[^"]*|(?<=opaque=")[^"]*')
def http_auth(app: Flask, count: Count) -> list[Visit]:
    """Basic, token and digest authentication, roles, its error handler"""
    basic, token = flask_httpauth.HTTPBasicAuth(), flask_httpauth.HTTPTokenAuth()
    digest = flask_httpauth.HTTPDigestAuth()
    basic.verify_password(lambda user, password: user if password == "right" else None)
    basic.get_user_roles(lambda user: ["reader"])
    token.verify_token(lambda token: token == "right")
    token.error_handler(lambda status: (f"no: {status}", status))
    digest.get_password(lambda user: "right")
    app.add_url_rule("/basic", "basic", basic.login_required(count(lambda: "basic")))
    app.add_url_rule("/admin", "admin", basic.login_required(role="admin")(lambda: "admin"))
    app.add_url_rule("/token", "token", token.login_required(lambda: "token"))
    app.add_url_rule("/broken", "broken", token.login_required(lambda: 1 // 0))
    app.add_url_rule("/digest", "digest", digest.login_required(lambda: "digest"))
    right = {"Authorization": "Basic c29tZW9uZTpyaWdodA=="}
    return [
        Visit("/basic", headers=right, counted=True),
        Visit("/basic", 401),
        Visit("/admin", 403, headers=right),
        Visit("/token", headers={"Authorization": "Bearer right"}),
        Visit("/token", 401, headers={"Authorization": "Bearer wrong"}),
        Visit("/broken", 500, headers={"Authorization": "Bearer right"}, raises=True),
        Visit("/digest", 401),
    ]


@EXTENSIONS.add("Flask-JWT-Extended", hides=TOKEN)
def jwt(app: Flask, count: Count) -> list[Visit]:
    """Tokens, fresh ones, wrong ones, missing ones, an optional one"""
    app.config["JWT_SECRET_KEY"] = "secret" * 8
    flask_jwt_extended.JWTManager(app)

    @app.post("/login")
    def login() -> Any:
        return {"token": flask_jwt_extended.create_access_token("someone")}

    @app.get("/account")
    @flask_jwt_extended.jwt_required()
    @count
    def account() -> str:
        return str(flask_jwt_extended.get_jwt_identity())

    @app.get("/fresh")
    @flask_jwt_extended.jwt_required(fresh=True)
    def fresh() -> str:
        return "fresh"

    @app.get("/optional")
    @flask_jwt_extended.jwt_required(optional=True)
    @count
    def optional() -> str:
        return str(flask_jwt_extended.get_jwt_identity())

    @app.get("/broken")
    @flask_jwt_extended.jwt_required()
    def broken() -> str:
        raise ValueError

    def token(answers: Sequence[Answer]) -> dict[str, str]:
        return {"Authorization": f"Bearer {flask.json.loads(answers[0].body)['token']}"}

    return [
        Visit("/login", 200, "POST"),
        Visit("/account", headers=token, counted=True),
        Visit("/account", 401),
        Visit("/account", 422, headers={"Authorization": "Bearer wrong"}),
        Visit("/fresh", 401, headers=token),
        Visit("/optional", counted=True),
        Visit("/broken", 500, headers=token, raises=True),
    ]


@EXTENSIONS.add("Flask-Session", hides=COOKIE)
def session(app: Flask, count: Count) -> list[Visit]:
    """Sessions on the server: made, read, emptied, and one of a request that fails"""
    app.config |= {"SESSION_TYPE": "cachelib", "SESSION_CACHELIB": cachelib.SimpleCache()}
    flask_session.Session(app)

    @app.post("/visits")
    @count
    def visit() -> str:
        flask.session["visits"] = flask.session.get("visits", 0) + 1
        return str(flask.session["visits"])

    @app.delete("/visits")
    def forget() -> str:
        flask.session.clear()
        return "forgotten"

    @app.get("/broken")
    def broken() -> str:
        flask.session["visits"] = 100
        raise ValueError

    return [
        Visit("/visits", 200, "POST", counted=True),
        Visit("/visits", 200, "POST", counted=True),
        Visit("/broken", 500, raises=True),
        Visit("/visits", 200, "POST", counted=True),
        Visit("/visits", 200, "DELETE"),
        Visit("/visits", 405),
    ]


@EXTENSIONS.add("Flask-WTF", hides=COOKIE + r'|(?<=value=")[^"]*')
def wtf(app: Flask, count: Count) -> list[Visit]:
    """Forms, `CSRFProtect`, an exempt view, a form without its token"""
    csrf = flask_wtf.CSRFProtect(app)

    class Form(flask_wtf.FlaskForm):
        name = StringField()

    @app.route("/form", methods=["GET", "POST"])
    @count
    def form() -> str:
        form = Form()
        return str(form.csrf_token()) if not form.validate_on_submit() else "taken"

    @app.post("/hook")
    @csrf.exempt
    def hook() -> str:
        raise ValueError

    def token(answers: Sequence[Answer]) -> dict[str, str]:
        return {"X-CSRFToken": answers[0].body.split('value="')[1].split('"')[0]}

    return [
        Visit("/form", counted=True),
        Visit("/form", 400, "POST", form={"name": "x"}),
        Visit("/form", 200, "POST", form={"name": "x"}, headers=token, counted=True),
        Visit("/hook", 500, "POST", raises=True),
    ]
