"""The service on Flask: sqlite3, and a thread for the background job."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from flask import Flask, abort, request

from promweb import PrometheusMetrics

from .measured import OPTIONS, Measured, NotAPhoto


def create_app(path, registry=None):
    """Make the service with the database at a path."""
    app = Flask(__name__)
    metrics = PrometheusMetrics(app, registry=registry, **OPTIONS)
    measured = Measured(metrics)
    jobs = app.extensions["jobs"] = ThreadPoolExecutor(1)

    @measured.queries
    def query(table, sql, *values):
        with closing(sqlite3.connect(path)) as database, database:
            return database.execute(sql, values).fetchall()

    query("photos", "create table photos (kind text, content blob)")
    query("users", "create table users (name text, password text)")
    query("users", "insert into users values ('you', 'secret')")

    def thumbnail(kind):
        measured.make_thumbnail(kind)

    @app.post("/login")
    @measured.logins
    def login():
        sql = "select 1 from users where name = ? and password = ?"
        if not query("users", sql, request.form["name"], request.form["password"]):
            return "refused", 401, {"X-Login": "refused"}
        return "welcome", {"X-Login": "ok"}

    @app.post("/photos")
    def upload():
        content = request.get_data()
        kind = measured.take(request.content_type, content)
        query("photos", "insert into photos values (?, ?)", kind, content)
        jobs.submit(thumbnail, kind)
        return "taken", 201

    @app.get("/photos/<int:number>")
    def photo(number):
        found = query("photos", "select content from photos where rowid = ?", number)
        return found[0][0] if found else abort(404)

    @app.get("/events")
    def events():
        def stream():
            with measured.listeners.track_inprogress():
                for number in range(3):
                    yield f"data: {number}\n\n"

        return stream(), {"Content-Type": "text/event-stream"}

    @app.get("/broken")
    def broken():
        return query("photos", "select nothing from photos")

    @app.errorhandler(NotAPhoto)
    def not_a_photo(error):
        return "no photo", 415

    return app
