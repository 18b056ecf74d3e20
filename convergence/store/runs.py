"""Runs and their steps. Every change is a compare-and-set: who comes second changes nothing."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from convergence.errors import Conflict, NotFound
from convergence.model import event
from convergence.model.run import LIVE, MOVES, Run, RunFilter, Status, StepRun
from convergence.store import events, listing, rows
from convergence.store.column_types import UtcDateTime, kept
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.fleet import mark_dirty
from convergence.store.tables import IS_LIVE, pipeline_runs, step_logs

_RUN_STATUSES = frozenset(Status) - {Status.SKIPPED}

# Statements are made once: making one takes longer than running it, and writers wait in line.
_RUNS = pipeline_runs.c
_NOW = sa.bindparam("now", type_=UtcDateTime)
_IS_RUN = sa.and_(
    _RUNS.run_id == sa.bindparam("of_run"), _RUNS.tenant_id == sa.bindparam("of_tenant")
)
_GET = sa.select(pipeline_runs).where(_IS_RUN)
_LIVE = sa.select(pipeline_runs).where(
    IS_LIVE,
    *(
        _RUNS[name] == sa.bindparam(name)
        for name in ("tenant_id", "pipeline_id", "run_date", "parameter_hash")
    ),
)
_CLAIM = (
    sa.update(pipeline_runs)
    .where(_IS_RUN, IS_LIVE)
    .values(
        status=Status.RUNNING.value,
        # One that was taken from its worker has its next attempt already.
        attempt=sa.case(
            (sa.and_(_RUNS.attempt > 0, _RUNS.worker.is_(None)), _RUNS.attempt),
            else_=_RUNS.attempt + 1,
        ),
        worker=sa.bindparam("by"),
        started_at=kept(_RUNS.started_at, _NOW),
    )
    .returning(pipeline_runs)
)
_REVOKE = (
    sa.update(pipeline_runs)
    .where(_IS_RUN, IS_LIVE, _RUNS.worker.is_not(None))
    .values(attempt=_RUNS.attempt + 1, worker=None)
    .returning(pipeline_runs)
)
_REQUEST_CANCEL = (
    sa.update(pipeline_runs)
    .where(_IS_RUN, IS_LIVE, _RUNS.cancel_requested_at.is_(None))
    .values(cancel_requested_at=_NOW)
    .returning(pipeline_runs)
)
_HOLD = (
    sa.select(_RUNS.attempt, _RUNS.cancel_requested_at)
    .where(_IS_RUN, IS_LIVE)
    .with_for_update(key_share=True)
)
_STEPS = (
    sa.select(step_logs)
    .where(
        step_logs.c.run_id == sa.bindparam("of_run"),
        step_logs.c.tenant_id == sa.bindparam("of_tenant"),
    )
    .order_by(step_logs.c.step_index)
)
_OF_RUNS: sa.BindParameter[Any] = sa.bindparam("of_runs", expanding=True)
_SOME, _STEPS_OF = (
    sa.select(table).where(
        table.c.tenant_id == sa.bindparam("of_tenant"), table.c.run_id.in_(_OF_RUNS)
    )
    for table in (pipeline_runs, step_logs)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A live run at its present attempt; `is_cancelled` says that somebody asked it to end."""

    is_cancelled: bool


def insert(tx: WriteTx, run: Run) -> None:
    """Raises Conflict when the same pipeline, date and parameters are live already."""
    if not tx.write(_insert(tx.dialect), rows.run_values(run)):
        raise Conflict(
            f"A run of {run.pipeline_id} for {run.run_date} is live already", code="run_live"
        )
    events.first(tx, event.of_run(run, at=run.created_at))
    mark_dirty(tx, run.tenant_id, run.run_id)


def live(
    tx: ReadTx, tenant_id: str, *, pipeline_id: str, run_date: date, parameter_hash: str
) -> Run | None:
    """The live run of the same work, if there is one."""
    work = {"pipeline_id": pipeline_id, "run_date": run_date, "parameter_hash": parameter_hash}
    row = tx.connection.execute(_LIVE, {"tenant_id": tenant_id, **work}).one_or_none()
    return rows.run(row) if row else None


def get(tx: ReadTx, tenant_id: str, run_id: str) -> Run:
    """Raises NotFound, for another tenant's run too."""
    row = tx.connection.execute(_GET, _of(tenant_id, run_id)).one_or_none()
    if row is None:
        raise NotFound(
            f"Pipeline run {run_id} not found for tenant {tenant_id}", code="run_not_found"
        )
    return rows.run(row)


def some(tx: ReadTx, tenant_id: str, run_ids: Collection[str]) -> list[Run]:
    """Those of these runs that there are."""
    found = tx.connection.execute(_SOME, {"of_tenant": tenant_id, "of_runs": run_ids})
    return [rows.run(row) for row in found]


def page(
    tx: ReadTx,
    tenant_id: str,
    wanted: RunFilter,
    *,
    limit: int,
    before: tuple[datetime, str] | None,
) -> list[Run]:
    """Newest first by (created_at, run_id), those before `before`."""
    whose = [_RUNS.tenant_id == tenant_id]
    # One walk down an index for each status: none sorts, however many runs there are.
    statuses = wanted.statuses or (_RUN_STATUSES if wanted.pipeline_id else ())
    parts = [[*whose, _RUNS.status == each.value] for each in statuses] or [whose]
    found = [run for part in parts for run in listing.newest(tx, part, wanted, limit, before)]
    return sorted(found, key=lambda run: (run.created_at, run.run_id), reverse=True)[:limit]


def unresolved(tx: ReadTx, tenant_id: str, *, since: datetime, limit: int) -> list[Run]:
    """Runs that failed after `since`, newest first, and whose work no later run completed."""
    later = pipeline_runs.alias("later")
    done = sa.exists().where(
        later.c.tenant_id == _RUNS.tenant_id,
        later.c.pipeline_id == _RUNS.pipeline_id,
        later.c.status == Status.COMPLETED.value,
        later.c.run_date == _RUNS.run_date,
        later.c.created_at > _RUNS.created_at,
    )
    failed = [_RUNS.tenant_id == tenant_id, _RUNS.status == Status.FAILED.value]
    recent = [*failed, _RUNS.created_at > since, ~done]
    return listing.newest(tx, recent, RunFilter(), limit, None)


def count_newest(tx: ReadTx, tenant_id: str, *, limit: int) -> dict[Status, int]:
    """How many of the tenant's newest `limit` runs are in each status."""
    return listing.count_newest(tx, [_RUNS.tenant_id == tenant_id], limit=limit)


def claim(tx: WriteTx, tenant_id: str, run_id: str, *, worker: str, now: datetime) -> Run | None:
    """PENDING to RUNNING, or a takeover: the next attempt. None when the run is over."""
    claimed = _change(tx, _CLAIM, {**_of(tenant_id, run_id), "by": worker, "now": now})
    if claimed is not None:
        events.append(tx, event.of_run(claimed, at=now))
    return claimed


def revoke(tx: WriteTx, tenant_id: str, run_id: str, *, now: datetime) -> Run | None:
    """Take a live run from its worker: from now on what that one writes is refused. None when no
    worker has it.
    """
    revoked = _change(tx, _REVOKE, _of(tenant_id, run_id))
    if revoked is not None:
        said = "its worker is gone, another will take it over"
        events.append(tx, event.warning_of(revoked, said, at=now))
    return revoked


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
    last_steps: Sequence[StepRun] = (),
) -> Run | None:
    """End a run, and write the steps that ended with it. None, and nothing written, when it may
    not go there, is over, or has a newer attempt. Who counts the end in the same transaction holds
    the tenant before.
    """
    if status in LIVE:
        raise ValueError(f"{status} is not an end")
    end = {"ended_at": now, "error_code": error_code, "error": error}
    of_attempt = {**_of(tenant_id, run_id), "of_attempt": attempt}
    ended = _change(tx, _finish(status), of_attempt | end)
    if ended is not None:
        if last_steps:
            _save_steps(tx, last_steps)
        told = (event.of_step(step) for step in last_steps)
        events.append(tx, *told, event.of_run(ended, at=now))
    return ended


def request_cancel(tx: WriteTx, tenant_id: str, run_id: str, *, now: datetime) -> Run:
    """Ask a live run to end, once; one that is over stays as it is. Raises NotFound."""
    asked = _change(tx, _REQUEST_CANCEL, {**_of(tenant_id, run_id), "now": now})
    if asked is None:
        return get(tx, tenant_id, run_id)
    events.append(tx, event.warning_of(asked, "cancel requested", at=now))
    return asked


def hold(tx: WriteTx, tenant_id: str, run_id: str, *, attempt: int) -> bool:
    """Whether the run lives and this is its present attempt, until the transaction ends."""
    return held(tx, tenant_id, run_id, attempt) is not None


def held(tx: WriteTx, tenant_id: str, run_id: str, attempt: int) -> Hold | None:
    """The same, and what is told to the attempt that is the present one."""
    row = tx.connection.execute(_HOLD, _of(tenant_id, run_id)).one_or_none()
    if row is None or row.attempt != attempt:
        return None
    return Hold(is_cancelled=row.cancel_requested_at is not None)


def save_step(tx: WriteTx, step: StepRun) -> bool:
    """Write a step as it is now. False, and nothing written, from an attempt that is not the
    run's present one.
    """
    if not hold(tx, step.tenant_id, step.run_id, attempt=step.attempt):
        return False
    put_steps(tx, [step])
    return True


def put_steps(tx: WriteTx, steps: Sequence[StepRun]) -> None:
    """Write steps of one run as they are now. This transaction holds the run."""
    add_steps(tx, steps)
    mark_dirty(tx, steps[0].tenant_id, steps[0].run_id)


def add_steps(tx: WriteTx, steps: Sequence[StepRun]) -> None:
    """The same, of a run that this transaction has changed already."""
    _save_steps(tx, steps)
    events.append(tx, *(event.of_step(step) for step in steps))


def steps(tx: ReadTx, tenant_id: str, run_id: str) -> list[StepRun]:
    """In the order of the template."""
    return [rows.step(row) for row in tx.connection.execute(_STEPS, _of(tenant_id, run_id))]


def steps_of(tx: ReadTx, tenant_id: str, run_ids: Collection[str]) -> list[StepRun]:
    """The steps of all these runs."""
    found = tx.connection.execute(_STEPS_OF, {"of_tenant": tenant_id, "of_runs": run_ids})
    return [rows.step(row) for row in found]


@cache
def _insert(dialect: str) -> sa.Insert:
    return insert_into(pipeline_runs, dialect).on_conflict_do_nothing()


@cache
def _finish(status: Status) -> sa.Executable:
    # Compared one by one: what an IN lists is put into the statement each time anew.
    may_end = sa.or_(
        *(_RUNS.status == origin.value for origin, moves in MOVES.items() if status in moves)
    )
    change = sa.update(pipeline_runs).where(
        _IS_RUN, _RUNS.attempt == sa.bindparam("of_attempt"), may_end
    )
    return change.values(status=status.value).returning(pipeline_runs)


@cache
def _save_step(dialect: str) -> sa.Insert:
    statement = insert_into(step_logs, dialect)
    return statement.on_conflict_do_update(
        index_elements=["run_id", "step_id"],
        set_={column.name: column for column in statement.excluded},
    )


def _save_steps(tx: WriteTx, steps: Sequence[StepRun]) -> None:
    tx.connection.execute(_save_step(tx.dialect), [rows.step_values(step) for step in steps])


def _change(tx: WriteTx, change: sa.Executable, values: Mapping[str, Any]) -> Run | None:
    row = tx.connection.execute(change, values).one_or_none()
    if row is None:
        return None
    run = rows.run(row)
    mark_dirty(tx, run.tenant_id, run.run_id)
    return run


def _of(tenant_id: str, run_id: str) -> dict[str, Any]:
    return {"of_tenant": tenant_id, "of_run": run_id}
