"""Plans: what a run would do, where its values come from, and what would stop it."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from convergence.api.wire.result import ColumnOut
from convergence.api.wire.shape import Json, Out
from convergence.model.price import billed, price_of
from convergence.model.template import StepTrigger

if TYPE_CHECKING:
    from convergence.engine.plan import RunPlan, StepPlan


class Explained(Protocol):
    """What the warehouse says of a statement that was not run."""

    @property
    def statement(self) -> str: ...
    @property
    def sql(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def columns(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def reads(self) -> Sequence[object]: ...


class ValueOut(Out):
    """`origin`: built-in, template, tenant, request, only source (the one there is), or missing."""

    name: str
    value: str
    origin: str


class ReadOut(Out):
    """`files` of the `matched` ones may hold the day's rows."""

    source: str
    files: int
    bytes: int
    matched: int


class ObstacleOut(Out):
    code: str
    detail: str
    hint: str
    step_id: str | None


class StepPlanOut(Out):
    """`query` is BigQuery SQL with its names filled, `sql` what the warehouse would run of it.

    `bytes_billed` of the query, and their price, are null where the warehouse bills for nothing.
    """

    step_id: str
    name: str
    ps_type: str
    trigger: StepTrigger
    depends_on: list[str] | None
    timeout_minutes: float
    settings: Json
    table: str | None
    query: str | None
    sql: str | None
    notes: list[str]
    reads: list[ReadOut]
    bytes_billed: int | None
    price_usd: str | None
    rows_last_time: int | None
    obstacle: ObstacleOut | None


class QuotaPlanOut(Out):
    """`used` before the run, `with_run` after its admission, of `limit`."""

    kind: str
    used: int
    with_run: int
    limit: int


class ExplainOut(Out):
    """`query` as it was understood, `sql` what the warehouse would run; `notes`: approximate."""

    query: str
    sql: str
    notes: list[str]
    columns: list[ColumnOut]
    reads: list[ReadOut]


class PlanOut(Out):
    """`would_run` is false when an obstacle is known."""

    tenant_id: str
    template: str
    pipeline_id: str
    date: date
    would_run: bool
    obstacles: list[ObstacleOut]
    quota: list[QuotaPlanOut]
    variables: list[ValueOut]
    steps: list[StepPlanOut]
    price_per_tib: str
    last_run: str | None


def explain_out(explained: Explained) -> ExplainOut:
    return ExplainOut(
        query=explained.statement,
        sql=explained.sql,
        notes=list(explained.notes),
        columns=[ColumnOut(name=name, type=kind) for name, kind in explained.columns],
        reads=[ReadOut.model_validate(read) for read in explained.reads],
    )


def plan_out(plan: "RunPlan") -> PlanOut:
    return PlanOut(
        tenant_id=plan.run.tenant_id,
        template=plan.run.template,
        pipeline_id=plan.run.pipeline_id,
        date=plan.run.run_date,
        would_run=not plan.obstacles,
        obstacles=[ObstacleOut.model_validate(each) for each in plan.obstacles],
        quota=[
            QuotaPlanOut(kind=kind, used=used, with_run=used + 1, limit=limit)
            for kind, used, limit in (
                ("daily", plan.use.today, plan.limits.daily_limit),
                ("monthly", plan.use.month, plan.limits.monthly_limit),
                ("concurrent", plan.use.live, plan.limits.concurrent_limit),
            )
        ],
        variables=[ValueOut.model_validate(each) for each in plan.values],
        steps=[_step_out(each, plan.price_per_tib) for each in plan.steps],
        price_per_tib=str(plan.price_per_tib),
        last_run=plan.last_run.run_id if plan.last_run else None,
    )


def _step_out(plan: "StepPlan", price_per_tib: Decimal) -> StepPlanOut:
    step, explained = plan.step, plan.explained
    read = explained.bytes if explained else None
    paid = None if read is None or explained is None else billed(read, len(explained.reads))
    return StepPlanOut(
        step_id=step.step_id,
        name=step.name,
        ps_type=step.ps_type,
        trigger=step.trigger,
        depends_on=None if step.depends_on is None else list(step.depends_on),
        timeout_minutes=step.timeout_minutes,
        settings=dict(plan.settings),
        table=plan.table,
        query=explained.statement if explained else None,
        sql=explained.sql if explained else None,
        notes=list(explained.notes) if explained else [],
        reads=[ReadOut.model_validate(read) for read in explained.reads] if explained else [],
        bytes_billed=paid,
        price_usd=None if paid is None else str(price_of(paid, price_per_tib)),
        rows_last_time=plan.last_rows,
        obstacle=ObstacleOut.model_validate(plan.obstacle) if plan.obstacle else None,
    )
