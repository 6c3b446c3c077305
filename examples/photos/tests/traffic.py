"""The requests of both services, as arguments of a test client's `open`."""

REQUESTS = [
    ("/login", {"method": "POST", "form": {"name": "you", "password": "secret"}}),
    ("/login", {"method": "POST", "form": {"name": "you", "password": "guess"}}),
    ("/photos", {"method": "POST", "type": "image/png", "data": b"x" * 2000}),
    ("/photos", {"method": "POST", "type": "image/jpeg", "data": b"x" * 50}),
    ("/photos", {"method": "POST", "type": "text/plain", "data": b"words"}),
    ("/photos", {"method": "OPTIONS"}),
    ("/photos/1", {}),
    ("/photos/99", {}),
    ("/events", {}),
    ("/broken", {}),
    ("/nowhere", {}),
]

COUNTS = {
    'photos_logins_total{outcome="ok",service="photos"}': 1,
    'photos_logins_total{outcome="refused",service="photos"}': 1,
    'photos_uploads_total{kind="png",service="photos"}': 1,
    'photos_uploads_total{kind="jpeg",service="photos"}': 1,
    'photos_rejected_total{service="photos"}': 1,
    'photos_large_answers_total{service="photos"}': 1,
    'photos_queue_length{service="photos"}': 0,
    'photos_listeners{service="photos"}': 0,
    'photos_upload_size_bytes_sum{service="photos"}': 2050,
    'photos_thumbnail_seconds_count{kind="png",service="photos"}': 1,
    'photos_query_seconds_count{error="",service="photos",table="users"}': 4,
    'photos_query_seconds_count{error="OperationalError",service="photos",table="photos"}': 1,
    'photos_build{version="1.0"}': 1,
    'flask_http_requests_in_progress{service="photos",url_rule="/events"}': 0,
    'flask_http_request_total{method="POST",service="photos",status="415"}': 1,
}
