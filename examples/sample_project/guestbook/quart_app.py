"""The guest book on Quart: `quart --app guestbook.quart_app run`."""

from quart import Quart, request

from promweb import AsyncPrometheusMetrics


def create_app():
    app = Quart(__name__)
    metrics = AsyncPrometheusMetrics(app, group_by="url_rule")
    entries = []

    async def language():
        return (await request.form)["language"]

    @app.post("/entries")
    @metrics.counter("entries", "Entries", labels={"language": language})
    async def sign():
        entries.append((await request.form)["text"])
        return "thank you", 201

    @app.get("/entries")
    @metrics.summary("reading_seconds", "Time that reading takes")
    async def read():
        for entry in entries:
            yield f"{entry}\n"

    return app
