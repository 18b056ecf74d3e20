"""Restatements: written with the load that causes them, and true once it is published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from convergence.model.load import Load
from convergence.model.money import Total
from convergence.model.restatement import Change, Reason, Restatement, money
from convergence.model.run import Run
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.rows import Row
from convergence.store.tables import invoice_months, restatements

_COLUMNS = restatements.c

_IS_OF_MONEY = sa.or_(
    _COLUMNS.old_cost != _COLUMNS.new_cost, _COLUMNS.old_credits != _COLUMNS.new_credits
)
# Made once: every run that ends asks it.
_NEWS = (
    sa.select(restatements)
    .where(
        _COLUMNS.tenant_id == sa.bindparam("of_tenant"),
        _COLUMNS.recorded_at >= sa.bindparam("since"),
        _COLUMNS.run_id == sa.bindparam("of_run"),
        _COLUMNS.reason != Reason.ARRIVING.value,
        _IS_OF_MONEY,
    )
    .order_by(_COLUMNS.usage_date)
    .limit(sa.bindparam("most", type_=sa.Integer()))
)

Cursor = tuple[datetime, str, int]
"""A place in the list: recorded_at, load_id, position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which restatements: of usage days, recorded at or after a moment; None is no limit."""

    date_from: date | None = None
    date_to: date | None = None
    since: datetime | None = None


def stage(
    tx: WriteTx,
    load: Load,
    changes: Sequence[tuple[Change, Reason]],
    *,
    old_run_id: str,
) -> None:
    """Write what the load will restate, over an earlier try of the same load."""
    discard(tx, load.tenant_id, load.load_id)
    values = [
        {
            "load_id": load.load_id,
            "position": position,
            "tenant_id": load.tenant_id,
            "table_name": load.key.table,
            "source": load.key.source,
            "usage_date": load.key.day,
            "invoice_month": change.invoice_month,
            "service_id": change.service_id,
            "project_id": change.project_id,
            "currency": change.currency,
            **_side("old", change.old),
            **_side("new", change.new),
            "reason": reason.value,
            "run_id": load.run_id,
            "old_run_id": old_run_id,
        }
        for position, (change, reason) in enumerate(changes)
    ]
    tx.write_all(sa.insert(restatements), values)


def record(tx: WriteTx, load: Load, *, at: datetime) -> None:
    """The load is published: what it restates has happened, and its invoice months changed: now,
    or, where there were no rows before, when the source says.
    """
    own = sa.and_(_COLUMNS.tenant_id == load.tenant_id, _COLUMNS.load_id == load.load_id)
    tx.write(sa.update(restatements).where(own).values(recorded_at=at))
    changed_at = load.source_state.max_export_time if not load.previous else None
    for month in sorted(load.changed_months):
        key = {
            "tenant_id": load.tenant_id,
            "table_name": load.key.table,
            "invoice_month": month,
        }
        values = {"changed_at": changed_at or at, "run_id": load.run_id}
        statement = insert_into(invoice_months, tx.dialect).values(**key, **values)
        is_later = invoice_months.c.changed_at < statement.excluded.changed_at
        tx.write(
            statement.on_conflict_do_update(index_elements=list(key), set_=values, where=is_later)
        )


def discard(tx: WriteTx, tenant_id: str, load_id: str) -> None:
    """Forget what a load that never took effect would have restated."""
    own = sa.and_(_COLUMNS.tenant_id == tenant_id, _COLUMNS.load_id == load_id)
    tx.write(sa.delete(restatements).where(own, _COLUMNS.recorded_at.is_(None)))


def page(
    tx: ReadTx, tenant_id: str, wanted: Wanted, *, limit: int, before: Cursor | None = None
) -> list[Restatement]:
    """Those that changed an amount, the newest first."""
    query = sa.select(restatements).where(*_conditions(tenant_id, wanted), _IS_OF_MONEY)
    if before is not None:
        moment = sa.literal(before[0], _COLUMNS.recorded_at.type)
        place = sa.tuple_(moment, sa.literal(before[1]), sa.literal(before[2]))
        query = query.where(_order() < place)
    order = [column.desc() for column in (_COLUMNS.recorded_at, _COLUMNS.load_id)]
    found = tx.connection.execute(query.order_by(*order, _COLUMNS.position.desc()).limit(limit))
    return [_restatement(row) for row in found]


def by_place(
    tx: ReadTx, tenant_id: str, table: str, *, first: date, last: date, most: int
) -> dict[tuple[date, str], list[Restatement]]:
    """The newest of each day and source that changed an amount, the newest first."""
    wanted = Wanted(date_from=first, date_to=last)
    order = [column.desc() for column in (_COLUMNS.recorded_at, _COLUMNS.load_id)]
    order.append(_COLUMNS.position.desc())
    place = sa.func.row_number().over(
        partition_by=(_COLUMNS.usage_date, _COLUMNS.source), order_by=order
    )
    ranked = (
        sa.select(restatements, place.label("place"))
        .where(*_conditions(tenant_id, wanted), _COLUMNS.table_name == table, _IS_OF_MONEY)
        .subquery()
    )
    query = sa.select(ranked).where(ranked.c.place <= most).order_by(ranked.c.place)
    found: dict[tuple[date, str], list[Restatement]] = {}
    for row in tx.connection.execute(query):
        found.setdefault((row.usage_date, row.source), []).append(_restatement(row))
    return found


def after(
    tx: ReadTx, tenant_id: str, table: str, moment: datetime, wanted: Wanted
) -> list[Restatement]:
    """All that was recorded later than a moment, the changes of row counts included."""
    query = sa.select(restatements).where(
        *_conditions(tenant_id, wanted),
        _COLUMNS.table_name == table,
        _COLUMNS.recorded_at > moment,
    )
    return [_restatement(row) for row in tx.connection.execute(query)]


def news(tx: ReadTx, run: Run, *, limit: int) -> list[Restatement]:
    """Those of the run that changed an amount of a day which was taken for complete."""
    of_run = {"of_tenant": run.tenant_id, "of_run": run.run_id, "since": run.created_at}
    return [_restatement(row) for row in tx.connection.execute(_NEWS, of_run | {"most": limit})]


def months(tx: ReadTx, tenant_id: str, table: str) -> Mapping[str, datetime]:
    """When each invoice month last changed."""
    columns = invoice_months.c
    query = sa.select(columns.invoice_month, columns.changed_at).where(
        columns.tenant_id == tenant_id, columns.table_name == table
    )
    return {row.invoice_month: row.changed_at for row in tx.connection.execute(query)}


def _conditions(tenant_id: str, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    conditions = [_COLUMNS.tenant_id == tenant_id, _COLUMNS.recorded_at.is_not(None)]
    if wanted.date_from is not None:
        conditions.append(_COLUMNS.usage_date >= wanted.date_from)
    if wanted.date_to is not None:
        conditions.append(_COLUMNS.usage_date <= wanted.date_to)
    if wanted.since is not None:
        conditions.append(_COLUMNS.recorded_at >= wanted.since)
    return conditions


def _order() -> sa.Tuple:
    return sa.tuple_(_COLUMNS.recorded_at, _COLUMNS.load_id, _COLUMNS.position)


def _side(side: str, total: Total) -> dict[str, Any]:
    return {
        f"{side}_rows": total.rows,
        f"{side}_cost": money(total.cost),
        f"{side}_credits": money(total.credits),
    }


def _restatement(row: Row) -> Restatement:
    return Restatement(
        load_id=row.load_id,
        position=row.position,
        table=row.table_name,
        source=row.source,
        usage_date=row.usage_date,
        invoice_month=row.invoice_month,
        service_id=row.service_id,
        project_id=row.project_id,
        currency=row.currency,
        old=Total(row.old_rows, Decimal(row.old_cost), Decimal(row.old_credits)),
        new=Total(row.new_rows, Decimal(row.new_cost), Decimal(row.new_credits)),
        reason=Reason(row.reason),
        run_id=row.run_id,
        old_run_id=row.old_run_id,
        recorded_at=row.recorded_at,
    )
