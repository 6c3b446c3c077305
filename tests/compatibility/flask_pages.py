"""Flask extensions that bring pages, databases and sockets."""

from __future__ import annotations

from typing import Any

import dash
import flask
import flask_admin
import flask_babel
import flask_mail
import flask_sock
import flask_socketio
import flask_sqlalchemy
from flask import Flask
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .flask_answers import add_views, visits
from .flask_apis import Count
from .programs import HEAR, Extensions, Visit

EXTENSIONS = Extensions(Flask)


@EXTENSIONS.add("dash", hides=r'(?<="end_id":")[^"]*')
def with_dash(app: Flask, count: Count) -> list[Visit]:
    """The page, its layout, callbacks that answer, prevent the update and raise, other views"""
    page = dash.Dash("page", server=app, url_base_pathname="/page/", serve_locally=False)
    page.layout = dash.html.Div([dash.dcc.Input(id="in"), dash.html.Div(id="out")])

    @page.callback(dash.Output("out", "children"), dash.Input("in", "value"))
    def update(value: str) -> str:
        if value == "prevent":
            raise dash.exceptions.PreventUpdate
        return f"{1 // len(value)}"

    add_views(app, count)

    def call(value: str) -> Any:
        return {
            "output": "out.children",
            "outputs": {"id": "out", "property": "children"},
            "inputs": [{"id": "in", "property": "value", "value": value}],
            "changedPropIds": ["in.value"],
        }

    update_path = "/page/_dash-update-component"
    return [
        Visit("/page/"),
        Visit("/page/_dash-layout"),
        Visit("/page/_dash-dependencies"),
        Visit(update_path, 200, "POST", json=call("x")),
        Visit(update_path, 204, "POST", json=call("prevent")),
        Visit(update_path, 500, "POST", json=call(""), raises=True),
        *visits(),
    ]


@EXTENSIONS.add("flask-sock", is_served=True)
def sock(app: Flask, count: Count) -> list[Visit]:
    """Websockets that the client ends and that end by themselves, other views"""
    sock = flask_sock.Sock(app)

    @sock.route("/echo")
    def echo(ws: Any) -> None:
        while True:
            ws.send(ws.receive())

    @sock.route("/once")
    def once(ws: Any) -> None:
        ws.send("once")

    add_views(app, count)
    return [
        Visit("/echo", talk=["hello", HEAR, "again", HEAR]),
        Visit("/once", talk=[HEAR]),
        *(visit for visit in visits() if visit.path != "/cut"),
    ]


@EXTENSIONS.add(
    "Flask-SocketIO",
    is_served=True,
    hides=r'(?<="sid":")[^"]*',
)
def socket_io(app: Flask, count: Count) -> list[Visit]:
    """Long polling, events over a websocket, a transport that is unknown, other views"""
    sockets = flask_socketio.SocketIO(app, async_mode="threading", ping_interval=3600)
    sockets.on_event("echo", lambda text: flask_socketio.emit("echo", text))
    add_views(app, count)
    path = "/socket.io/?EIO=4&transport="
    talk = [HEAR, "40", HEAR, '42["echo","x"]', HEAR]
    return [
        Visit(path + "polling", outside=True),
        Visit(path + "websocket", 101, talk=talk, outside=True),
        Visit("/socket.io/?EIO=4&transport=no", 400, outside=True),
        *(visit for visit in visits() if visit.path != "/cut"),
    ]


@EXTENSIONS.add("Flask-SQLAlchemy")
def sqlalchemy(app: Flask, count: Count) -> list[Visit]:
    """Rows that are added and read, `get_or_404`, a transaction that fails"""
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db = flask_sqlalchemy.SQLAlchemy(app, model_class=type("Base", (DeclarativeBase,), {}))

    class Item(db.Model):  # type: ignore[name-defined, misc]
        id: Mapped[int] = mapped_column(primary_key=True)

    with app.app_context():
        db.create_all()

    @app.post("/items/<int:number>")
    @count
    def add(number: int) -> str:
        db.session.add(Item(id=number))
        db.session.commit()
        return "added"

    @app.get("/items/<int:number>")
    @count
    def item(number: int) -> str:
        return f"item {db.get_or_404(Item, number).id}"

    return [
        Visit("/items/1", 200, "POST", counted=True),
        Visit("/items/1", counted=True),
        Visit("/items/2", 404, counted=True),
        Visit("/items/1", 500, "POST", raises=True, counted=True),
        Visit("/items/1", counted=True),
    ]


@EXTENSIONS.add("Flask-Admin")
def admin(app: Flask, count: Count) -> list[Visit]:
    """The admin page, own views that answer, redirect and raise"""

    class View(flask_admin.BaseView):
        @flask_admin.expose("/")
        def index(self) -> str:
            return "index"

        @flask_admin.expose("/elsewhere")
        def elsewhere(self) -> Any:
            return flask.redirect("/admin/")

        @flask_admin.expose("/broken")
        def broken(self) -> str:
            raise ValueError

        def is_accessible(self) -> bool:
            return flask.request.args.get("who") != "stranger"

    flask_babel.Babel(app)  # Flask-Admin wants it where it is installed
    flask_admin.Admin(app).add_view(View(name="things", endpoint="things"))
    add_views(app, count)
    return [
        Visit("/admin/"),
        Visit("/admin/things/"),
        Visit("/admin/things/elsewhere", 302),
        Visit("/admin/things/broken", 500, raises=True),
        Visit("/admin/things/?who=stranger", 403),
        *visits(),
    ]


@EXTENSIONS.add("flask-babel")
def babel(app: Flask, count: Count) -> list[Visit]:
    """Numbers in the language of the client, a language that is unknown"""
    flask_babel.Babel(app, locale_selector=lambda: flask.request.args.get("language"))

    @app.get("/number")
    @count
    def number() -> str:
        return flask_babel.format_decimal(1234.5)

    return [
        Visit("/number", counted=True),
        Visit("/number?language=de", counted=True),
        Visit("/number?language=nobody", 500, raises=True, counted=True),
    ]


@EXTENSIONS.add("Flask-Mail")
def mail(app: Flask, count: Count) -> list[Visit]:
    """Messages that are sent, and one that cannot be sent"""
    app.config["MAIL_SUPPRESS_SEND"] = True
    mail = flask_mail.Mail(app)

    @app.post("/mail")
    @count
    def send() -> str:
        sender = flask.request.args.get("sender")
        mail.send(flask_mail.Message("hello", ["someone@example.com"], sender=sender))
        return "sent"

    return [
        Visit("/mail?sender=me@example.com", 200, "POST", counted=True),
        Visit("/mail", 500, "POST", raises=True, counted=True),
    ]
