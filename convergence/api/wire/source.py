"""Sources: billing exports, their files, and who may read how much of them."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated

from pydantic import AwareDatetime, ConfigDict, Field

from convergence.api.wire.shape import In, Out
from convergence.model.source import Grant, Kind, Source

if TYPE_CHECKING:
    from convergence.engine.inspect import Inspected

Ids = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=1000)]


class GrantIn(In):
    """A tenant's right to a source; empty lists mean all of it."""

    tenant: str
    billing_account_ids: Ids = Field(default_factory=list)
    project_ids: Ids = Field(default_factory=list)


class SourceIn(In):
    """A billing export. `files` is an absolute glob that may match nothing yet."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "table": "gac-prod-471220.cloudact_cost_usage.gcp_billing_export_v1",
                    "files": "/data/export/*.parquet",
                    "tenants": ["docker_customer_3434x4"],
                }
            ]
        }
    )

    table: str
    files: str | None = None
    kind: Annotated[Kind, Field(strict=False)] = Kind.AUTO
    tenants: Annotated[list[str | GrantIn], Field(max_length=10_000)] = Field(default_factory=list)

    def to_source(self) -> Source:
        return Source(
            table=self.table,
            files=self.files,
            kind=self.kind,
            grants=tuple(_grant(item) for item in self.tenants),
        )


class GrantOut(Out):
    tenant: str = Field(validation_alias="tenant_id")
    billing_account_ids: list[str]
    project_ids: list[str]


class SourceOut(Out):
    """As it is put: a tenant alone when it may read all."""

    table: str
    files: str | None
    kind: Kind
    tenants: list[str | GrantOut]


def source_out(source: Source) -> SourceOut:
    return SourceOut(
        table=source.table,
        files=source.files,
        kind=source.kind,
        tenants=[_grant_out(grant) for grant in source.grants],
    )


class ReachOut(Out):
    """In one currency: rows, and how far they reach. `days` have rows, of those between."""

    currency: str
    rows: int
    billing_accounts: int
    first_day: date
    last_day: date
    days: int
    days_without_rows: int
    oldest_export_time: AwareDatetime
    newest_export_time: AwareDatetime


class InspectedOut(Out):
    """What a tenant sees of a source; `code`, `detail` and `hint` when it cannot be loaded."""

    tenant: str = Field(validation_alias="tenant_id")
    kind: Kind | None
    reaches: list[ReachOut]
    code: str
    detail: str
    hint: str


class SourceCheckOut(Out):
    table: str
    items: list[InspectedOut]


def source_check_out(table: str, inspected: Sequence["Inspected"]) -> SourceCheckOut:
    items = [InspectedOut.model_validate(each) for each in inspected]
    return SourceCheckOut(table=table, items=items)


def _grant(item: str | GrantIn) -> Grant:
    if isinstance(item, str):
        return Grant(tenant_id=item)
    return Grant(
        tenant_id=item.tenant,
        billing_account_ids=tuple(item.billing_account_ids),
        project_ids=tuple(item.project_ids),
    )


def _grant_out(grant: Grant) -> str | GrantOut:
    if not grant.billing_account_ids and not grant.project_ids:
        return grant.tenant_id
    return GrantOut.model_validate(grant)
