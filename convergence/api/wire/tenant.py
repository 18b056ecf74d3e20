"""Tenants: onboarding, profile, API keys and variables."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field, StrictInt

from convergence.api.wire.shape import In, Json, Out
from convergence.model.key import ApiKeyRecord, Scope
from convergence.model.tenant import Plan, Tenant, TenantStatus

if TYPE_CHECKING:
    from convergence.engine.onboard import Application, Check, Onboarded


ONE_LINE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
"""A text that shows something, without control characters."""


class TenantIn(In):
    """What is asked for a new tenant."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant_id": "docker_customer_3434x4",
                    "company_name": "Docker Customer",
                    "admin_email": "admin@example.com",
                    "subscription_plan": "STARTER",
                }
            ]
        }
    )

    tenant_id: str
    company_name: str
    admin_email: str
    subscription_plan: str = Plan.STARTER.value
    force_recreate_dataset: Literal[False] = False
    force_recreate_tables: Literal[False] = False


class DryrunIn(TenantIn):
    """`source_table` is the export that the tenant shall read, to be looked at as well."""

    source_table: str = ""


class TenantPatch(In):
    """What to change; what is absent stays. `status` and `subscription_plan` are the operator's."""

    company_name: Annotated[str | None, Field(pattern=ONE_LINE, max_length=200)] = None
    admin_email: str | None = None
    status: Annotated[TenantStatus | None, Field(strict=False)] = None
    subscription_plan: Annotated[Plan | None, Field(strict=False)] = None


class TenantOut(Out):
    tenant_id: str
    company_name: str
    admin_email: str
    subscription_plan: Plan = Field(validation_alias="plan")
    status: TenantStatus
    is_active: bool
    dataset: str
    created_at: AwareDatetime


class OnboardedOut(Out):
    """`api_key` is shown this one time; null when the answer is sent again."""

    tenant_id: str
    api_key: str | None
    subscription_plan: Plan
    dataset_created: bool
    tables_created: list[str]
    dryrun_status: Literal["SUCCESS", "FAILED", "SKIPPED"]
    message: str


class CheckOut(Out):
    check_name: str = Field(validation_alias="name")
    passed: bool
    message: str
    details: Json | None = None
    timestamp: AwareDatetime = Field(validation_alias="checked_at")


class CheckSummary(Out):
    total_checks: int
    passed: int
    failed: int
    all_passed: bool


class DryrunOut(Out):
    status: Literal["SUCCESS", "FAILED"]
    tenant_id: str
    subscription_plan: str
    company_name: str
    admin_email: str
    validation_summary: CheckSummary
    validation_results: list[CheckOut]
    message: str
    ready_for_onboarding: bool


class ApiKeyIn(In):
    key_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$")]
    scopes: Annotated[
        frozenset[Annotated[Scope, Field(strict=False)]], Field(strict=False, min_length=1)
    ] = frozenset(Scope)
    expires_in_days: Annotated[StrictInt, Field(ge=1, le=365)] = 90


class ApiKeyOut(Out):
    api_key_id: str = Field(validation_alias="key_id")
    key_name: str
    scopes: list[str]
    is_active: bool
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    last_used_at: AwareDatetime | None


class NewApiKeyOut(ApiKeyOut):
    """`api_key` is shown this one time; null when the answer is sent again."""

    api_key: str | None = None


class VariableIn(In):
    value: str


class VariableOut(Out):
    name: str
    value: str


def tenant_out(tenant: Tenant) -> TenantOut:
    return TenantOut(
        tenant_id=tenant.tenant_id,
        company_name=tenant.company_name,
        admin_email=tenant.admin_email,
        plan=tenant.plan,
        status=tenant.status,
        is_active=tenant.status is TenantStatus.ACTIVE,
        dataset=tenant.dataset,
        created_at=tenant.created_at,
    )


def onboarded_out(onboarded: "Onboarded") -> OnboardedOut:
    tenant = onboarded.tenant
    return OnboardedOut(
        tenant_id=tenant.tenant_id,
        api_key=onboarded.api_key,
        subscription_plan=tenant.plan,
        dataset_created=onboarded.dataset_created,
        tables_created=list(onboarded.tables_created),
        dryrun_status="SKIPPED",
        message=f"Tenant {tenant.company_name} onboarded successfully. API key generated. "
        "Keep it: it is not shown again.",
    )


def dryrun_out(application: "Application", checks: Sequence["Check"]) -> DryrunOut:
    failed = [check.name for check in checks if not check.passed]
    return DryrunOut(
        status="FAILED" if failed else "SUCCESS",
        tenant_id=application.tenant_id,
        subscription_plan=application.subscription_plan,
        company_name=application.company_name,
        admin_email=application.admin_email,
        validation_summary=CheckSummary(
            total_checks=len(checks),
            passed=len(checks) - len(failed),
            failed=len(failed),
            all_passed=not failed,
        ),
        validation_results=[CheckOut.model_validate(check) for check in checks],
        message=f"Failed: {', '.join(failed)}" if failed else "Ready for onboarding",
        ready_for_onboarding=not failed,
    )


def key_out(key: ApiKeyRecord) -> ApiKeyOut:
    return ApiKeyOut.model_validate(key)


def new_key_out(key: ApiKeyRecord, text: str) -> NewApiKeyOut:
    return NewApiKeyOut.model_validate(key).model_copy(update={"api_key": text})


def variables_out(variables: Mapping[str, str]) -> list[VariableOut]:
    return [VariableOut(name=name, value=value) for name, value in sorted(variables.items())]
