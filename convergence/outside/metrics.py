"""What Prometheus reads: runs, quotas and requests, in a registry of their own."""

from collections.abc import Mapping
from threading import Lock

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

RUN_SECONDS = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counts of this process. Labels are ids that were looked up, never text of a caller."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        self._lock = Lock()
        self._tenants: frozenset[str] = frozenset()
        self._runs = Counter(
            "pipeline_executions",
            "Runs that ended, by their last status",
            ("tenant_id", "pipeline_id", "status"),
            registry=registry,
        )
        self._run_seconds = Histogram(
            "pipeline_duration_seconds",
            "Seconds from a run's first claim to its end",
            buckets=RUN_SECONDS,
            registry=registry,
        )
        self._active = Gauge(
            "active_pipelines",
            "Runs that are PENDING or RUNNING",
            ("tenant_id",),
            registry=registry,
        )
        self._quota = Gauge(
            "quota_utilization",
            "Share of a limit that is used, 1 at the limit",
            ("tenant_id", "quota_type"),
            registry=registry,
        )
        self._requests = Counter(
            "http_requests",
            "Answered requests, by route template",
            ("method", "route", "status"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "http_request_duration_seconds",
            "Seconds from request to answer, by route template",
            ("method", "route"),
            registry=registry,
        )

    def run_finished(
        self, tenant_id: str, pipeline_id: str, *, status: str, seconds: float | None
    ) -> None:
        """`seconds` is None for a run that ended before anybody claimed it."""
        self._runs.labels(tenant_id, pipeline_id, status).inc()
        if seconds is not None:
            self._run_seconds.observe(seconds)

    def set_active(self, counts: Mapping[str, int]) -> None:
        """The live runs of all tenants at this moment; a tenant that had some before has 0 now."""
        with self._lock:
            for tenant_id in self._tenants | counts.keys():
                self._active.labels(tenant_id).set(counts.get(tenant_id, 0))
            self._tenants |= counts.keys()

    def set_quota(self, tenant_id: str, *, daily: float, monthly: float, concurrent: float) -> None:
        """Shares of the tenant's limits: 0 is unused, 1 is the limit. An idle tenant shows too."""
        self._active.labels(tenant_id)
        shares = {"daily": daily, "monthly": monthly, "concurrent": concurrent}
        for quota_type, share in shares.items():
            self._quota.labels(tenant_id, quota_type).set(share)

    def http(self, method: str, route: str, *, status: int, seconds: float) -> None:
        """`route` is the template, as in `/runs/{run_id}`; "" when no route was matched."""
        method = method if method in METHODS else "OTHER"
        route = route or "unmatched"
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    def render(self) -> bytes:
        """Everything, in Prometheus' text format 0.0.4."""
        with self._lock:
            return generate_latest(self._registry)
