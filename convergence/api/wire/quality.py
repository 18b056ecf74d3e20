"""Quality results: of a table's day in a run, and of each check."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from convergence.api.wire.shape import Exact, Out, any_day
from convergence.model.check import CheckKind, Severity
from convergence.model.quality import CheckResult, QualityResult, Verdict
from convergence.store.quality import Wanted

Text = Annotated[str | None, Field(max_length=300)]


class QualityQuery(BaseModel):
    """Which results."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant_id: str | None = Field(default=None, description="The operator's choice of a tenant")
    date_from: str | None = Field(default=None, alias="from", description="First day")
    date_to: str | None = Field(default=None, alias="to", description="Last day")
    table: Text = None
    run_id: Text = None
    status: Annotated[list[Verdict], Field(max_length=3)] = Field(
        default_factory=list, description="PASS, WARNING, FAIL; repeatable"
    )
    limit: Annotated[int, Field(ge=1, le=1000)] = 20
    cursor: Annotated[str | None, Field(max_length=500)] = None

    def to_wanted(self) -> Wanted:
        """Raises Invalid for what is no day."""
        return Wanted(
            date_from=any_day(self.date_from),
            date_to=any_day(self.date_to),
            table=self.table,
            run_id=self.run_id,
            verdicts=self.status,
        )


class CheckOut(Out):
    """What one check found. `samples` are some rows that fail, as short texts."""

    name: str
    check: CheckKind
    severity: Severity
    column: str
    where: str
    passed: bool
    rows_checked: int
    rows_failed: int
    failure_rate: Exact
    threshold: str
    actual: str
    samples: Sequence[dict[str, str | None]]


class QualityOut(Out):
    """All checks of a table's day and source in a run, counted; those that failed, named."""

    dq_result_id: str
    pipeline_logging_id: str
    step_id: str
    table: str
    date: date
    source: str
    load_id: str | None
    executed_at: datetime
    expectations_passed: int
    expectations_failed: int
    overall_status: Verdict
    failed: list[str]


class QualityShown(QualityOut):
    """With each check, those that failed first."""

    checks: list[CheckOut]


def quality_out(value: QualityResult) -> QualityOut:
    return QualityOut(
        dq_result_id=value.dq_result_id,
        pipeline_logging_id=value.run_id,
        step_id=value.step_id,
        table=value.table,
        date=value.day,
        source=value.source,
        load_id=value.load_id,
        executed_at=value.executed_at,
        expectations_passed=value.passed_count,
        expectations_failed=len(value.failed),
        overall_status=value.verdict,
        failed=[check.name for check in value.failed],
    )


def quality_shown(value: QualityResult) -> QualityShown:
    checks = [*value.failed, *(check for check in value.checks if check.passed)]
    return QualityShown(
        **quality_out(value).model_dump(), checks=[check_out(check) for check in checks]
    )


def check_out(value: CheckResult) -> CheckOut:
    return CheckOut.model_validate(value)
