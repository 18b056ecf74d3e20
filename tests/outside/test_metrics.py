"""What Prometheus reads."""

from prometheus_client.parser import text_string_to_metric_families

from convergence.outside.metrics import Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    families = text_string_to_metric_families(metrics.render().decode())
    samples = [sample for family in families for sample in family.samples]
    found = [each.value for each in samples if each.name == name and each.labels == labels]
    return found[0] if found else None


def test_a_finished_run_is_counted_and_timed() -> None:
    metrics = Metrics()
    metrics.run_finished("acme", "acme-gcp-cost-billing", status="COMPLETED", seconds=7)
    metrics.run_finished("acme", "acme-gcp-cost-billing", status="CANCELLED", seconds=None)
    labels = {"tenant_id": "acme", "pipeline_id": "acme-gcp-cost-billing"}
    for status in ("COMPLETED", "CANCELLED"):
        assert value(metrics, "pipeline_executions_total", status=status, **labels) == 1
    buckets = ["1.0", "5.0", "10.0", "30.0", "60.0", "120.0", "300.0", "600.0"]
    buckets += ["1800.0", "3600.0", "+Inf"]
    counts = [value(metrics, "pipeline_duration_seconds_bucket", le=each) for each in buckets]
    assert counts == [0, 0] + [1] * 9


def test_a_tenant_whose_runs_ended_has_none_active() -> None:
    metrics = Metrics()
    metrics.set_active({"acme": 2, "beta": 1})
    metrics.set_active({"beta": 3})
    assert value(metrics, "active_pipelines", tenant_id="acme") == 0
    assert value(metrics, "active_pipelines", tenant_id="beta") == 3


def test_quota_is_told_as_a_share_of_each_limit() -> None:
    metrics = Metrics()
    metrics.set_quota("acme", daily=0.5, monthly=0.1, concurrent=1)
    for quota_type, share in {"daily": 0.5, "monthly": 0.1, "concurrent": 1}.items():
        told = value(metrics, "quota_utilization", tenant_id="acme", quota_type=quota_type)
        assert told == share
    assert value(metrics, "active_pipelines", tenant_id="acme") == 0


def test_requests_are_counted_by_route_and_known_methods() -> None:
    metrics = Metrics()
    metrics.http("GET", "/runs/{run_id}", status=200, seconds=0.01)
    metrics.http("BREW", "", status=404, seconds=0.01)
    name, route = "http_requests_total", "/runs/{run_id}"
    assert value(metrics, name, method="GET", route=route, status="200") == 1
    assert value(metrics, name, method="OTHER", route="unmatched", status="404") == 1


def test_two_services_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.set_active({"acme": 1})
    assert value(other, "active_pipelines", tenant_id="acme") is None
