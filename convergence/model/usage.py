"""Usage: what a tenant used on one UTC day, in the 22 columns of `tenant_usage_quotas`."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """One tenant and UTC day. The limits are a copy, taken at the last admission of the day.

    `pipelines_run_month` is the sum over the days of the UTC month up to the last admission,
    `concurrent_pipelines_running` the count of live runs when the row was last written.
    """

    usage_id: str
    tenant_id: str
    usage_date: date
    pipelines_run_today: int
    pipelines_succeeded_today: int
    pipelines_failed_today: int
    pipelines_cancelled_today: int
    pipelines_run_month: int
    concurrent_pipelines_running: int
    max_concurrent_reached: int
    daily_limit: int
    monthly_limit: int | None
    concurrent_limit: int | None
    quota_exceeded: bool
    quota_warning_sent: bool
    quota_exceeded_at: datetime | None
    total_api_calls_today: int
    total_storage_used_gb: Decimal
    last_updated: datetime
    last_pipeline_started_at: datetime | None
    last_pipeline_completed_at: datetime | None
    created_at: datetime
