"""The metrics of the service, on Flask and on Quart alike."""

from promweb import RequestInfo
from promweb.labels import exception_type, from_argument, from_response_header

OPTIONS = {
    "namespace": "photos",
    "group_by": "url_rule",
    "default_labels": {"service": "photos"},
    "in_progress": "group",
    "request_size": True,
    "response_size": True,
    "excluded_methods": ("OPTIONS",),
    "excluded_statuses": (418,),
    "excluded_unmatched": True,
}

KINDS = {"image/jpeg": "jpeg", "image/png": "png"}


class NotAPhoto(Exception):
    """The upload is not a photo."""


class Measured:
    """The instruments. Some decorate, the others are called where something happens."""

    def __init__(self, metrics):
        metrics.info("build", "Version of the service", version="1.0")
        self.logins = metrics.counter(
            "logins",
            "Attempts to log in",
            labels={"outcome": from_response_header("X-Login", allowed=["ok", "refused"])},
        )
        self.uploads = metrics.counter("uploads", "Photos taken in", labelnames=["kind"])
        # Kept, so that each kind has a series from the start.
        self.of_kind = {kind: self.uploads.labels(kind=kind) for kind in KINDS.values()}
        self.rejected = metrics.counter("rejected", "Uploads that are not photos")
        self.upload_sizes = metrics.histogram(
            "upload_size", "Sizes of photos", unit="bytes", buckets=(100, 1000, 10_000)
        )
        self.queries = metrics.histogram(
            "query_seconds",
            "Time of queries",
            labels={
                "table": from_argument("table", allowed=["photos", "users"]),
                "error": exception_type(),
            },
        )
        self.queue = metrics.gauge("queue_length", "Photos that wait for a thumbnail")
        self.queue.set(0)
        self.thumbnails = metrics.summary(
            "thumbnail_seconds", "Time to make a thumbnail", labelnames=["kind"]
        )
        self.last_job = metrics.gauge("last_job_timestamp_seconds", "When the last job ended")
        self.listeners = metrics.gauge("listeners", "Open event streams")
        self.large = metrics.counter("large_answers", "Answers of more than a kilobyte")
        metrics.on_request(self.note)

    def note(self, info: RequestInfo) -> None:
        """Count what no label can express."""
        if (info.response_bytes or 0) > 1000:
            self.large.inc()

    def take(self, content_type, content):
        """Count an upload; return its kind. Raises NotAPhoto."""
        with self.rejected.count_exceptions(NotAPhoto):
            if content_type not in KINDS:
                raise NotAPhoto(content_type)
        kind = KINDS[content_type]
        self.of_kind[kind].inc()
        self.upload_sizes.observe(len(content))
        self.queue.inc()
        return kind

    def make_thumbnail(self, kind):
        """Do the work of the background job for one photo."""
        with self.thumbnails.time(kind=kind):
            thumbnail = kind[:1]
        self.queue.dec()
        self.last_job.set_to_current_time()
        return thumbnail
