"""The usage rows of a day, and what the metrics say of them."""

from collections.abc import Callable
from pathlib import Path

from convergence.engine.days import open_day, report_quotas
from convergence.engine.onboard import Onboarded, onboard
from convergence.engine.service import Service
from convergence.store import usage
from tests.conftest import application
from tests.engine.test_loads import run_day
from tests.fakes import FakeClock


def test_a_new_day_opens_with_a_row_for_each_tenant(
    service: Service, tenant: Onboarded, clock: FakeClock
) -> None:
    onboard(service, application("globex"))
    clock.advance(days=1)
    assert open_day(service) == 2
    assert open_day(service) == 0
    with service.database.read() as tx:
        row = usage.row(tx, "globex", clock.now().date())
    assert row is not None
    assert (row.pipelines_run_today, row.daily_limit) == (0, 6)


def test_the_metrics_tell_the_share_of_each_limit(
    service: Service, export: Callable[..., Path]
) -> None:
    export(("2024-11-01", "1", "", "202411"))
    run_day(service)
    report_quotas(service)
    text = service.metrics.render().decode()
    assert 'quota_utilization{quota_type="daily",tenant_id="acme"} 0.01' in text
    assert 'quota_utilization{quota_type="concurrent",tenant_id="acme"} 0.0' in text
    assert "pipeline_executions_total{" in text
