"""The service on Quart: aiosqlite, and a task for the background job."""

import aiosqlite
from quart import Quart, abort, request

from promweb import AsyncPrometheusMetrics

from .measured import OPTIONS, Measured, NotAPhoto


def create_app(path, registry=None):
    """Make the service with the database at a path."""
    app = Quart(__name__)
    metrics = AsyncPrometheusMetrics(app, registry=registry, **OPTIONS)
    measured = Measured(metrics)

    @measured.queries
    async def query(table, sql, *values):
        async with aiosqlite.connect(path) as database:
            rows = await database.execute_fetchall(sql, values)
            await database.commit()
            return rows

    @app.before_serving
    async def make_tables():
        await query("photos", "create table photos (kind text, content blob)")
        await query("users", "create table users (name text, password text)")
        await query("users", "insert into users values ('you', 'secret')")

    async def thumbnail(kind):
        measured.make_thumbnail(kind)

    @app.post("/login")
    @measured.logins
    async def login():
        sql = "select 1 from users where name = ? and password = ?"
        form = await request.form
        if not await query("users", sql, form["name"], form["password"]):
            return "refused", 401, {"X-Login": "refused"}
        return "welcome", {"X-Login": "ok"}

    @app.post("/photos")
    async def upload():
        content = await request.get_data()
        kind = measured.take(request.content_type, content)
        await query("photos", "insert into photos values (?, ?)", kind, content)
        app.add_background_task(thumbnail, kind)
        return "taken", 201

    @app.get("/photos/<int:number>")
    async def photo(number):
        found = await query("photos", "select content from photos where rowid = ?", number)
        return next(iter(found))[0] if found else abort(404)

    @app.get("/events")
    async def events():
        async def stream():
            async with measured.listeners.track_inprogress():
                for number in range(3):
                    yield f"data: {number}\n\n"

        return stream(), {"Content-Type": "text/event-stream"}

    @app.get("/broken")
    async def broken():
        return await query("photos", "select nothing from photos")

    @app.errorhandler(NotAPhoto)
    async def not_a_photo(error):
        return "no photo", 415

    return app
