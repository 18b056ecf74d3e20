"""Who owns data, keys and limits; and what each plan grants."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from convergence.errors import Invalid
from convergence.model.subscription import Subscription

TENANT_ID = re.compile(r"[a-z0-9][a-z0-9_]{2,49}")
RESERVED = frozenset(
    {"tenants", "main", "temp", "system", "pg_catalog", "information_schema", "default", "public"}
    | {"gcp_silver_cost", "source", "sources", "operator", "admin", "control", "memory"}
    | {"customers"}
)


class TenantStatus(StrEnum):
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a tenant may use. Runs are counted per UTC day, per UTC month and at one moment.

    `maximum_bytes_billed` is of one statement, in a warehouse that bills for what it reads; None
    is no limit. No plan says it.
    """

    daily_limit: int
    monthly_limit: int
    concurrent_limit: int
    max_team_members: int
    max_providers: int
    maximum_bytes_billed: int | None = None


class WarehouseKind(StrEnum):
    """What has a tenant's tables."""

    DUCKDB = "duckdb"
    BIGQUERY = "bigquery"


class Plan(StrEnum):
    STARTER = "STARTER"
    PROFESSIONAL = "PROFESSIONAL"
    SCALE = "SCALE"


PLAN_LIMITS = {
    Plan.STARTER: Limits(
        daily_limit=6, monthly_limit=180, concurrent_limit=1, max_team_members=2, max_providers=3
    ),
    Plan.PROFESSIONAL: Limits(
        daily_limit=25, monthly_limit=750, concurrent_limit=3, max_team_members=6, max_providers=6
    ),
    Plan.SCALE: Limits(
        daily_limit=100,
        monthly_limit=3000,
        concurrent_limit=10,
        max_team_members=11,
        max_providers=10,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant. `dataset` names its part of the warehouse and is found here, never glued."""

    tenant_id: str
    company_name: str
    admin_email: str
    dataset: str
    status: TenantStatus
    plan: Plan
    created_at: datetime
    warehouse: WarehouseKind = WarehouseKind.DUCKDB

    @property
    def subscription_id(self) -> str:
        """A tenant has one subscription."""
        return f"sub_{self.tenant_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a tenant's runs are admitted by. `variables` are its own values of template variables,
    by name.
    """

    tenant: Tenant
    limits: Limits
    variables: Mapping[str, str]
    subscription: Subscription = field(default_factory=Subscription)


def check_tenant_id(text: str) -> str:
    """Give the id back, or raise Invalid: `[a-z0-9][a-z0-9_]{2,49}`, and not a reserved name."""
    if not TENANT_ID.fullmatch(text):
        raise Invalid(
            f"tenant_id {text[:60]!r} is not valid",
            code="invalid_tenant_id",
            hint="3 to 50 characters: lower-case letters, digits and _, not starting with _",
        )
    if text in RESERVED:
        raise Invalid(f"tenant_id {text!r} is a reserved name", code="invalid_tenant_id")
    return text
