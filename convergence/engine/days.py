"""Each UTC day has a usage row for every active tenant; nothing of a finished day is touched."""

from convergence.engine.service import Service
from convergence.store import fleet, tenants, usage


def open_day(service: Service) -> int:
    """Make the rows that today lacks; how many there were. Safe to repeat."""
    now = service.clock.now()
    with service.database.read() as tx:
        missing = fleet.without_usage(tx, now.date())
    for tenant_id in missing:
        with service.database.write() as write:
            limits = tenants.limits(write, tenant_id)
            usage.ensure_day(write, tenant_id, now.date(), limits, now=now)
    return len(missing)


def report_quotas(service: Service) -> None:
    """Tell the metrics which share of each limit is used, by today's rows."""
    with service.database.read() as tx:
        today = fleet.usage_of(tx, service.clock.now().date())
    for row in today:
        service.metrics.set_quota(
            row.tenant_id,
            daily=row.pipelines_run_today / (row.daily_limit or 1),
            monthly=row.pipelines_run_month / (row.monthly_limit or 1),
            concurrent=row.concurrent_pipelines_running / (row.concurrent_limit or 1),
        )
