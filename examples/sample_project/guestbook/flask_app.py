"""The guest book on Flask: `flask --app guestbook.flask_app run`."""

from flask import Flask, request

from promweb import PrometheusMetrics


def create_app():
    app = Flask(__name__)
    metrics = PrometheusMetrics(app, group_by="url_rule")
    entries = []

    @app.post("/entries")
    @metrics.counter("entries", "Entries", labels={"language": lambda: request.form["language"]})
    def sign():
        entries.append(request.form["text"])
        return "thank you", 201

    @app.get("/entries")
    @metrics.summary("reading_seconds", "Time that reading takes")
    def read():
        for entry in entries:
            yield f"{entry}\n"

    return app
