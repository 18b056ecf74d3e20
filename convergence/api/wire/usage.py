"""Limits, and what was used of them."""

from dataclasses import asdict
from datetime import date
from typing import Annotated

from pydantic import AwareDatetime, ConfigDict, Field, StrictInt

from convergence.api.wire.shape import Exact, In, Out
from convergence.model.quota import Use, is_met, passed
from convergence.model.tenant import Limits, Plan, Tenant
from convergence.model.usage import UsageRow

Limit = Annotated[StrictInt | None, Field(ge=0, le=1_000_000_000)]


class LimitsPatch(In):
    """The limits to change; those that are absent stay. `maximum_bytes_billed` null is none."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"daily_limit": 25}]})

    daily_limit: Limit = None
    monthly_limit: Limit = None
    concurrent_limit: Limit = None
    max_team_members: Limit = None
    max_providers: Limit = None
    maximum_bytes_billed: Annotated[StrictInt | None, Field(ge=10_485_760, le=2**62)] = None

    @property
    def changes(self) -> dict[str, int | None]:
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return {
            name: value
            for name, value in given.items()
            if value is not None or name == "maximum_bytes_billed"
        }


class LimitNumbers(Out):
    daily_limit: int
    monthly_limit: int
    concurrent_limit: int
    max_team_members: int
    max_providers: int
    maximum_bytes_billed: int | None = None
    """Of one statement in BigQuery; null: no limit of the tenant's."""


class InUse(Out):
    pipelines_today: int
    pipelines_month: int
    concurrent_running: int


class Remaining(Out):
    daily: int
    monthly: int
    concurrent: int


class LimitsOut(Out):
    tenant_id: str
    subscription_plan: Plan
    limits: LimitNumbers
    current_usage: InUse
    available: Remaining
    notice: str | None
    """Which limits the present use is above: what runs goes on, new runs wait."""


class UsageOut(Out):
    """One UTC day in the columns of `tenant_usage_quotas`; the limits in force, what is left.

    `quota_exceeded` is as at this moment: one run more would be refused.
    `quota_exceeded_at` is the first refusal of the day.
    """

    usage_id: str
    tenant_id: str
    usage_date: date
    pipelines_run_today: int
    pipelines_succeeded_today: int
    pipelines_failed_today: int
    pipelines_cancelled_today: int | None
    pipelines_run_month: int
    concurrent_pipelines_running: int
    max_concurrent_reached: int | None
    daily_limit: int
    monthly_limit: int | None
    concurrent_limit: int | None
    quota_exceeded: bool | None
    quota_warning_sent: bool | None
    quota_exceeded_at: AwareDatetime | None
    total_api_calls_today: int | None
    total_storage_used_gb: Exact | None
    last_updated: AwareDatetime
    last_pipeline_started_at: AwareDatetime | None
    last_pipeline_completed_at: AwareDatetime | None
    created_at: AwareDatetime
    limits: LimitNumbers
    quota_remaining: Remaining


def limits_out(tenant: Tenant, limits: Limits, use: Use) -> LimitsOut:
    return LimitsOut(
        tenant_id=tenant.tenant_id,
        subscription_plan=tenant.plan,
        limits=LimitNumbers.model_validate(limits),
        current_usage=InUse(
            pipelines_today=use.today, pipelines_month=use.month, concurrent_running=use.live
        ),
        available=_remaining(limits, use),
        notice="; ".join(passed(limits, use)) or None,
    )


def usage_out(row: UsageRow, limits: Limits, use: Use) -> UsageOut:
    return UsageOut(
        **{**asdict(row), "quota_exceeded": is_met(limits, use)},
        limits=LimitNumbers.model_validate(limits),
        quota_remaining=_remaining(limits, use),
    )


def _remaining(limits: Limits, use: Use) -> Remaining:
    return Remaining(
        daily=max(0, limits.daily_limit - use.today),
        monthly=max(0, limits.monthly_limit - use.month),
        concurrent=max(0, limits.concurrent_limit - use.live),
    )
