"""The shortest measured Flask service: `python -m examples.quick_start_flask`."""

from flask import Flask

from promweb import PrometheusMetrics

app = Flask(__name__)
metrics = PrometheusMetrics(app, group_by="url_rule")


@app.route("/hello/<name>")
@metrics.counter("hello", "Greetings", labels={"status": lambda response: response.status_code})
def hello(name):
    return f"Hello, {name}!"


if __name__ == "__main__":
    app.run()  # then: curl localhost:5000/hello/you localhost:5000/metrics
