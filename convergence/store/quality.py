"""What quality checks found, of each table's day and run. A repeat writes over its own result."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from convergence.errors import NotFound
from convergence.model.quality import CheckResult, QualityResult, Verdict
from convergence.model.run import Run
from convergence.store import runs
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.rows import Row
from convergence.store.tables import dq_results

_COLUMNS = dq_results.c
_OF_RUNS = (
    sa.select(dq_results)
    .where(
        _COLUMNS.tenant_id == sa.bindparam("of_tenant"),
        _COLUMNS.run_id.in_(sa.bindparam("of_runs", expanding=True)),
    )
    .order_by(_COLUMNS.executed_at, _COLUMNS.dq_result_id)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which results: of days, of a table, of a run, with verdicts; what is None or empty: all."""

    date_from: date | None = None
    date_to: date | None = None
    table: str | None = None
    run_id: str | None = None
    verdicts: Collection[Verdict] = ()


def record(tx: WriteTx, run: Run, result: QualityResult) -> bool:
    """Write a result, unless the run has passed to another attempt."""
    if not runs.hold(tx, run.tenant_id, run.run_id, attempt=run.attempt):
        return False
    values = {
        "dq_result_id": result.dq_result_id,
        "tenant_id": run.tenant_id,
        "run_id": run.run_id,
        "step_id": result.step_id,
        "table_name": result.table,
        "day": result.day,
        "source": result.source,
        "suite": result.suite,
        "executed_at": result.executed_at,
        "expectations_passed": result.passed_count,
        "expectations_failed": len(result.failed),
        "overall_status": result.verdict.value,
        "checks": [check.to_json() for check in result.checks],
        "load_id": result.load_id,
    }
    statement = insert_into(dq_results, tx.dialect).values(**values)
    tx.write(statement.on_conflict_do_update(index_elements=["dq_result_id"], set_=values))
    return True


def get(tx: ReadTx, tenant_id: str, dq_result_id: str) -> QualityResult:
    """Raises NotFound."""
    query = sa.select(dq_results).where(
        _COLUMNS.tenant_id == tenant_id, _COLUMNS.dq_result_id == dq_result_id
    )
    row = tx.connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(
            f"Quality result not found: {dq_result_id[:60]}",
            code="quality_result_not_found",
            hint="cdp quality ls names them",
        )
    return _result(row)


def page(
    tx: ReadTx,
    tenant_id: str,
    wanted: Wanted,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
) -> list[QualityResult]:
    """The newest first."""
    query = sa.select(dq_results).where(*_conditions(tenant_id, wanted))
    if before is not None:
        place = sa.tuple_(sa.literal(before[0], _COLUMNS.executed_at.type), sa.literal(before[1]))
        query = query.where(sa.tuple_(_COLUMNS.executed_at, _COLUMNS.dq_result_id) < place)
    order = (_COLUMNS.executed_at.desc(), _COLUMNS.dq_result_id.desc())
    return [_result(row) for row in tx.connection.execute(query.order_by(*order).limit(limit))]


def of_runs(tx: ReadTx, tenant_id: str, run_ids: Collection[str]) -> list[QualityResult]:
    """All of these runs, the oldest first."""
    found = tx.connection.execute(_OF_RUNS, {"of_tenant": tenant_id, "of_runs": run_ids})
    return [_result(row) for row in found]


def of_loads(tx: ReadTx, tenant_id: str, load_ids: Sequence[str]) -> dict[str, QualityResult]:
    """What was found as these were loaded, by load_id."""
    query = sa.select(dq_results).where(
        _COLUMNS.tenant_id == tenant_id, _COLUMNS.load_id.in_(load_ids)
    )
    return {row.load_id: _result(row) for row in tx.connection.execute(query)}


def _conditions(tenant_id: str, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    conditions = [_COLUMNS.tenant_id == tenant_id]
    if wanted.date_from is not None:
        conditions.append(_COLUMNS.day >= wanted.date_from)
    if wanted.date_to is not None:
        conditions.append(_COLUMNS.day <= wanted.date_to)
    if wanted.table is not None:
        conditions.append(_COLUMNS.table_name == wanted.table)
    if wanted.run_id is not None:
        conditions.append(_COLUMNS.run_id == wanted.run_id)
    if wanted.verdicts:
        verdicts = [verdict.value for verdict in wanted.verdicts]
        conditions.append(_COLUMNS.overall_status.in_(verdicts))
    return conditions


def _result(row: Row) -> QualityResult:
    return QualityResult(
        dq_result_id=row.dq_result_id,
        tenant_id=row.tenant_id,
        run_id=row.run_id,
        step_id=row.step_id,
        table=row.table_name,
        day=row.day,
        source=row.source,
        suite=row.suite,
        executed_at=row.executed_at,
        checks=tuple(CheckResult.from_json(check) for check in row.checks),
        load_id=row.load_id,
    )
