"""The shortest measured Quart service: `python -m examples.quick_start_quart`."""

from quart import Quart

from promweb import AsyncPrometheusMetrics

app = Quart(__name__)
metrics = AsyncPrometheusMetrics(app, group_by="url_rule")


@app.route("/hello/<name>")
@metrics.counter("hello", "Greetings", labels={"status": lambda response: response.status_code})
async def hello(name):
    return f"Hello, {name}!"


if __name__ == "__main__":
    app.run()  # then: curl localhost:5000/hello/you localhost:5000/metrics
