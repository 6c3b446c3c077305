"""Programs that were written for prometheus_flask_exporter.

Each module has `make_app(library, registry)`, where only the library is another, and `REQUESTS`
that its clients send, as (method, path) or (method, path, keywords of Flask's test client).
"""
