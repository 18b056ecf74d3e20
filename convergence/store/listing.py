"""Lists of runs, the newest first: one walk down an index, from a cursor on."""

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from convergence.model.run import Run, RunFilter, Status
from convergence.store import rows
from convergence.store.database import ReadTx
from convergence.store.tables import pipeline_runs

_RUNS = pipeline_runs.c


def newest(
    tx: ReadTx,
    conditions: Iterable[sa.ColumnElement[bool]],
    wanted: RunFilter,
    limit: int,
    before: tuple[datetime, str] | None,
) -> list[Run]:
    """Runs by (created_at, run_id), backwards, before `before`; statuses are the caller's."""
    query = sa.select(pipeline_runs).where(*conditions)
    if wanted.pipeline_id is not None:
        query = query.where(_RUNS.pipeline_id == wanted.pipeline_id)
    if wanted.date_from is not None:
        query = query.where(_RUNS.run_date >= wanted.date_from)
    if wanted.date_to is not None:
        query = query.where(_RUNS.run_date <= wanted.date_to)
    if wanted.since is not None:
        query = query.where(_RUNS.created_at >= wanted.since)
    if before is not None:
        moment = sa.literal(before[0], _RUNS.created_at.type)
        cursor = sa.tuple_(moment, sa.literal(before[1]))
        query = query.where(sa.tuple_(_RUNS.created_at, _RUNS.run_id) < cursor)
    query = query.order_by(_RUNS.created_at.desc(), _RUNS.run_id.desc()).limit(limit)
    return [rows.run(row) for row in tx.connection.execute(query)]


def count_newest(
    tx: ReadTx, conditions: Iterable[sa.ColumnElement[bool]], *, limit: int
) -> dict[Status, int]:
    """How many of the newest `limit` runs are in each status."""
    newest_ = sa.select(_RUNS.status).where(*conditions)
    newest_ = newest_.order_by(_RUNS.created_at.desc(), _RUNS.run_id.desc()).limit(limit)
    of = newest_.subquery()
    query = sa.select(of.c.status, sa.func.count()).group_by(of.c.status)
    return {Status(status): number for status, number in tx.connection.execute(query)}
