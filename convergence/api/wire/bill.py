"""The bill over time: restatements, and the reconciliation with the source."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from convergence.api.wire.shape import Money, Out, Page, any_day
from convergence.errors import Invalid
from convergence.model.invoice import MonthState, Reconciliation, SharedAccount
from convergence.model.load import IncompleteDay
from convergence.model.restatement import Reason, Restatement

MONTH = re.compile(r"\d{4}(0[1-9]|1[0-2])")


class RestatementsQuery(BaseModel):
    """Which restatements: by usage day, and by when they were recorded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant_id: str | None = Field(default=None, description="The operator's choice of a tenant")
    date_from: str | None = Field(default=None, alias="from", description="First usage day")
    date_to: str | None = Field(default=None, alias="to", description="Last usage day")
    since: str | None = Field(
        default=None, description="Recorded at or after a day, or a moment with its zone"
    )
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: Annotated[str | None, Field(max_length=500)] = None

    @property
    def days(self) -> tuple[date | None, date | None]:
        """Raises Invalid for what is no day."""
        return any_day(self.date_from), any_day(self.date_to)

    @property
    def since_moment(self) -> datetime | None:
        return moment(self.since) if self.since else None


class RestatementOut(Out):
    """An amount that was reported and became another; an absent side is 0. `run_id` brought the
    new amount, `old_run_id` the old one: null where there was none.
    """

    usage_date: date
    invoice_month: str | None
    service_id: str | None
    project_id: str | None
    currency: str | None
    old_cost: Money
    new_cost: Money
    old_credits: Money
    new_credits: Money
    reason: Reason
    run_id: str
    recorded_at: datetime
    old_run_id: str | None
    source: str


class IncompleteDayOut(Out):
    """A usage day that lacks rows of a source: the run could not load it. `day` is null where the
    days of the rows cannot be told: it may be any.
    """

    day: date | None
    source: str
    code: str
    run_id: str
    since: datetime


class ReconciliationQuery(BaseModel):
    """Of one invoice month, or of all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant_id: str | None = Field(default=None, description="The operator's choice of a tenant")
    invoice_month: str | None = Field(default=None, description="YYYYMM")

    @property
    def month(self) -> str | None:
        """Raises Invalid for what is no month."""
        if self.invoice_month and not MONTH.fullmatch(self.invoice_month):
            raise Invalid(
                f"{self.invoice_month[:20]!r} is not a month", code="invalid_date", hint="YYYYMM"
            )
        return self.invoice_month


class ReconciliationOut(Out):
    """What the table holds beside what the source held, and the runs that proved it. `kept_net` is
    the sum that pages show, which must be the same.
    """

    invoice_month: str | None
    state: MonthState
    changed_at: datetime | None
    cost_type: str | None
    currency: str | None
    rows: int
    cost: Money
    credits: Money
    source_rows: int
    source_cost: Money
    source_credits: Money
    difference: Money
    kept_net: Money
    is_equal: bool
    run_ids: list[str]


class SharedAccountOut(Out):
    """An account of which more than one source has rows on the same days: costs that both tell
    count twice.
    """

    billing_account_id: str
    sources: list[str]
    days: int
    first: date
    last: date


class ReconciliationsOut(Page[ReconciliationOut]):
    """What was loaded, proven; and what no sum of it tells: days that lack rows, accounts that come
    from more than one source.
    """

    incomplete_days: list[IncompleteDayOut]
    shared_accounts: list[SharedAccountOut]


def incomplete_out(found: Sequence[IncompleteDay]) -> list[IncompleteDayOut]:
    return [IncompleteDayOut.model_validate(asdict(each)) for each in found]


def reconciliations_out(
    found: Sequence[Reconciliation],
    lacking: Sequence[IncompleteDay],
    shared: Sequence[SharedAccount],
) -> ReconciliationsOut:
    return ReconciliationsOut(
        items=[reconciliation_out(item) for item in found],
        incomplete_days=incomplete_out(lacking),
        shared_accounts=[SharedAccountOut.model_validate(asdict(each)) for each in shared],
    )


def restatement_out(value: Restatement) -> RestatementOut:
    return RestatementOut(
        usage_date=value.usage_date,
        invoice_month=value.invoice_month or None,
        service_id=value.service_id or None,
        project_id=value.project_id or None,
        currency=value.currency or None,
        old_cost=value.old.cost,
        new_cost=value.new.cost,
        old_credits=value.old.credits,
        new_credits=value.new.credits,
        reason=value.reason,
        run_id=value.run_id,
        old_run_id=value.old_run_id or None,
        source=value.source,
        recorded_at=value.recorded_at,
    )


def reconciliation_out(value: Reconciliation) -> ReconciliationOut:
    return ReconciliationOut(
        invoice_month=value.invoice_month or None,
        state=value.state,
        changed_at=value.changed_at,
        cost_type=value.cost_type or None,
        currency=value.currency or None,
        rows=value.ours.rows,
        cost=value.ours.cost,
        credits=value.ours.credits,
        source_rows=value.source.rows,
        source_cost=value.source.cost,
        source_credits=value.source.credits,
        difference=value.difference,
        kept_net=value.kept.net,
        is_equal=value.is_equal,
        run_ids=list(value.run_ids),
    )


def moment(text: str, *, at_end: bool = False) -> datetime:
    """A day's first moment in UTC, or its last; or a moment as it is. Raises Invalid."""
    try:
        if len(text) == len("YYYY-MM-DD"):
            found = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            found += timedelta(days=1, microseconds=-1) if at_end else timedelta()
        else:
            found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        found = None
    if found is None or found.tzinfo is None or not 1 < found.year < 9999:
        raise Invalid(
            f"{text[:40]!r} is neither a day nor a moment with its zone",
            code="invalid_date",
            hint="2024-11-05, or 2024-11-05T08:00:00Z",
        )
    return found.astimezone(UTC)
