"""Runs and their steps. Every change is a compare-and-set: who comes second changes nothing."""

from datetime import date, datetime

import sqlalchemy as sa

from convergence.errors import Conflict, NotFound
from convergence.model.run import LIVE, MOVES, Run, RunFilter, Status, StepRun
from convergence.store import rows, tenants
from convergence.store.column_types import kept
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.fleet import mark_dirty
from convergence.store.tables import IS_LIVE, pipeline_runs, step_logs

_RUN_STATUSES = frozenset(Status) - {Status.SKIPPED}


def insert(tx: WriteTx, run: Run) -> None:
    """Raises Conflict when the same pipeline, date and parameters are live already."""
    statement = insert_into(tx, pipeline_runs).values(**rows.run_values(run))
    if not tx.write(statement.on_conflict_do_nothing()):
        raise Conflict(
            f"A run of {run.pipeline_id} for {run.run_date} is live already", code="run_live"
        )
    mark_dirty(tx, run.tenant_id, run.run_id)


def live(
    tx: ReadTx, tenant_id: str, *, pipeline_id: str, run_date: date, parameter_hash: str
) -> Run | None:
    """The live run of the same work, if there is one."""
    runs = pipeline_runs
    query = sa.select(runs).where(
        IS_LIVE,
        runs.c.tenant_id == tenant_id,
        runs.c.pipeline_id == pipeline_id,
        runs.c.run_date == run_date,
        runs.c.parameter_hash == parameter_hash,
    )
    row = tx.connection.execute(query).one_or_none()
    return rows.run(row) if row else None


def get(tx: ReadTx, tenant_id: str, run_id: str) -> Run:
    """Raises NotFound, for another tenant's run too."""
    query = sa.select(pipeline_runs).where(_is_run(tenant_id, run_id))
    row = tx.connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(
            f"Pipeline run {run_id} not found for tenant {tenant_id}", code="run_not_found"
        )
    return rows.run(row)


def page(
    tx: ReadTx,
    tenant_id: str,
    wanted: RunFilter,
    *,
    limit: int,
    before: tuple[datetime, str] | None,
) -> list[Run]:
    """Newest first by (created_at, run_id), those before `before`."""
    query = _listing(tenant_id, wanted, before).limit(limit)
    status = pipeline_runs.c.status
    # One walk down an index for each status: none sorts, however many runs there are.
    statuses = wanted.statuses or (_RUN_STATUSES if wanted.pipeline_id else ())
    queries = [query.where(status == each.value) for each in statuses] or [query]
    found = [rows.run(row) for query in queries for row in tx.connection.execute(query)]
    return sorted(found, key=lambda run: (run.created_at, run.run_id), reverse=True)[:limit]


def claim(tx: WriteTx, tenant_id: str, run_id: str, *, worker: str, now: datetime) -> Run | None:
    """PENDING to RUNNING, or a takeover: the next attempt. None when the run is over."""
    runs = pipeline_runs
    return _change(
        tx,
        sa.update(runs)
        .where(_is_run(tenant_id, run_id), IS_LIVE)
        .values(
            status=Status.RUNNING.value,
            attempt=runs.c.attempt + 1,
            worker=worker,
            started_at=kept(runs.c.started_at, now),
        ),
    )


def finish(  # noqa: PLR0913 - the end of a run, all by name
    tx: WriteTx,
    tenant_id: str,
    run_id: str,
    *,
    attempt: int,
    status: Status,
    now: datetime,
    error_code: str | None = None,
    error: str | None = None,
) -> Run | None:
    """End a run. None when it may not go there, is over, or has a newer attempt."""
    if status in LIVE:
        raise ValueError(f"{status} is not an end")
    tenants.hold(tx, tenant_id)
    runs = pipeline_runs
    origins = [origin.value for origin, moves in MOVES.items() if status in moves]
    return _change(
        tx,
        sa.update(runs)
        .where(_is_run(tenant_id, run_id), runs.c.status.in_(origins), runs.c.attempt == attempt)
        .values(status=status.value, ended_at=now, error_code=error_code, error=error),
    )


def request_cancel(tx: WriteTx, tenant_id: str, run_id: str, *, now: datetime) -> Run:
    """Ask a live run to end; a run that is over stays as it is. Raises NotFound."""
    since = kept(pipeline_runs.c.cancel_requested_at, now)
    change = sa.update(pipeline_runs).where(_is_run(tenant_id, run_id), IS_LIVE)
    return _change(tx, change.values(cancel_requested_at=since)) or get(tx, tenant_id, run_id)


def mark_sample(tx: WriteTx, tenant_id: str, run_id: str) -> None:
    """Say that a step of this run was limited to some of the rows."""
    _change(tx, sa.update(pipeline_runs).where(_is_run(tenant_id, run_id)).values(is_sample=True))


def save_step(tx: WriteTx, step: StepRun) -> bool:
    """Write a step as it is now. False, and nothing written, from an attempt that is not the
    run's present one.
    """
    runs = pipeline_runs
    holder = sa.select(runs.c.attempt).where(_is_run(step.tenant_id, step.run_id))
    # The lock keeps a claim from slipping in between.
    locked = tx.connection.execute(holder.with_for_update(key_share=True))
    if locked.scalar_one_or_none() != step.attempt:
        return False
    values = rows.step_values(step)
    tx.write(
        insert_into(tx, step_logs)
        .values(**values)
        .on_conflict_do_update(index_elements=["run_id", "step_id"], set_=values)
    )
    mark_dirty(tx, step.tenant_id, step.run_id)
    return True


def steps(tx: ReadTx, tenant_id: str, run_id: str) -> list[StepRun]:
    """In the order of the template."""
    logs = step_logs
    query = sa.select(logs).where(logs.c.tenant_id == tenant_id, logs.c.run_id == run_id)
    found = tx.connection.execute(query.order_by(logs.c.step_index))
    return [rows.step(row) for row in found]


def _change(tx: WriteTx, change: sa.Update) -> Run | None:
    row = tx.connection.execute(change.returning(pipeline_runs)).one_or_none()
    if row is None:
        return None
    run = rows.run(row)
    mark_dirty(tx, run.tenant_id, run.run_id)
    return run


def _is_run(tenant_id: str, run_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(pipeline_runs.c.run_id == run_id, pipeline_runs.c.tenant_id == tenant_id)


def _listing(
    tenant_id: str, wanted: RunFilter, before: tuple[datetime, str] | None
) -> sa.Select[tuple[object, ...]]:
    runs = pipeline_runs.c
    query = sa.select(pipeline_runs).where(runs.tenant_id == tenant_id)
    if wanted.pipeline_id is not None:
        query = query.where(runs.pipeline_id == wanted.pipeline_id)
    if wanted.date_from is not None:
        query = query.where(runs.run_date >= wanted.date_from)
    if wanted.date_to is not None:
        query = query.where(runs.run_date <= wanted.date_to)
    if before is not None:
        moment = sa.literal(before[0], runs.created_at.type)
        query = query.where(
            sa.tuple_(runs.created_at, runs.run_id) < sa.tuple_(moment, sa.literal(before[1]))
        )
    return query.order_by(runs.created_at.desc(), runs.run_id.desc())
