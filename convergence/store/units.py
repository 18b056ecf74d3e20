"""What was seen of a source: its files with the days they hold, and its watermark."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from convergence.model.load import FileState
from convergence.model.money import totals_from_json, totals_to_json
from convergence.model.unit import Survey, Unit, UnitDay
from convergence.store.database import ReadTx, WriteTx, insert_into
from convergence.store.tables import source_unit_days, source_units, source_watermarks


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """The largest export time that was seen of a source, and what the tenant could see then.

    `watermark` is None until all that was seen could be loaded once.
    """

    narrowing: str
    watermark: datetime | None
    synced_at: datetime


def watermark(tx: ReadTx, tenant_id: str, table: str, source: str) -> Watermark | None:
    """None while no run has settled the source."""
    query = sa.select(source_watermarks).where(_of(source_watermarks, tenant_id, table, source))
    row = tx.connection.execute(query).one_or_none()
    if row is None:
        return None
    return Watermark(narrowing=row.narrowing, watermark=row.watermark, synced_at=row.synced_at)


def known(tx: ReadTx, tenant_id: str, table: str, source: str) -> dict[str, Unit]:
    """The units by path."""
    days: dict[str, list[UnitDay]] = {}
    query = sa.select(source_unit_days).where(_of(source_unit_days, tenant_id, table, source))
    for row in tx.connection.execute(query.order_by(source_unit_days.c.day)):
        part = UnitDay(
            day=row.day,
            totals=totals_from_json(row.totals),
            max_export_time=row.max_export_time,
        )
        days.setdefault(row.path, []).append(part)
    found = tx.connection.execute(
        sa.select(source_units).where(_of(source_units, tenant_id, table, source))
    )
    return {
        row.path: Unit(
            file=FileState(
                path=row.path, size=row.size, mtime_ns=row.mtime_ns, ctime_ns=row.ctime_ns
            ),
            content_hash=row.content_hash,
            columns=frozenset(row.columns),
            accounts=frozenset(row.accounts),
            days=tuple(days.get(row.path, ())),
            seen_at=row.seen_at,
        )
        for row in found
    }


def accounts(tx: ReadTx, tenant_id: str, table: str, source: str) -> frozenset[str]:
    """The billing accounts of the units."""
    query = sa.select(source_units.c.accounts)
    found = tx.connection.execute(query.where(_of(source_units, tenant_id, table, source)))
    return frozenset[str]().union(*found.scalars())


def settle(  # noqa: PLR0913 - what, for whom, by which run and when, all by name
    tx: WriteTx,
    tenant_id: str,
    survey: Survey,
    *,
    keep: Iterable[Unit],
    forget: Iterable[str],
    is_whole: bool,
    run_id: str,
    now: datetime,
) -> None:
    """Remember the units and the watermark, which never goes back.

    Until all is as it should be there is no watermark, and a narrowing that was seen earlier stays:
    the next survey finds the difference again.
    """
    kept = list(keep)
    replaced = [{"of_path": path} for path in [*forget, *(unit.path for unit in kept)]]
    for table in (source_unit_days, source_units):
        is_own = _of(table, tenant_id, survey.table, survey.source)
        is_unit = is_own & (table.c.path == sa.bindparam("of_path"))
        tx.write_all(sa.delete(table).where(is_unit), replaced)
    key = {"tenant_id": tenant_id, "table_name": survey.table, "source": survey.source}
    tx.write_all(sa.insert(source_units), [key | _unit_values(unit) for unit in kept])
    days = [(unit, part) for unit in kept for part in unit.days]
    tx.write_all(sa.insert(source_unit_days), [key | _day_values(*held) for held in days])
    before = watermark(tx, tenant_id, survey.table, survey.source)
    seen = [before.watermark if before else None, *(unit.newest for unit in kept)]
    if not is_whole and (before is None or before.watermark is None):
        seen = []
    values = {
        "narrowing": survey.narrowing if is_whole or before is None else before.narrowing,
        "watermark": max((moment for moment in seen if moment), default=None),
        "synced_at": now,
        "run_id": run_id,
    }
    statement = insert_into(source_watermarks, tx.dialect).values(**key, **values)
    tx.write(statement.on_conflict_do_update(index_elements=list(key), set_=values))


def _unit_values(unit: Unit) -> dict[str, object]:
    return {
        "path": unit.path,
        "size": unit.file.size,
        "mtime_ns": unit.file.mtime_ns,
        "ctime_ns": unit.file.ctime_ns,
        "content_hash": unit.content_hash,
        "columns": sorted(unit.columns),
        "accounts": sorted(unit.accounts),
        "seen_at": unit.seen_at,
    }


def _day_values(unit: Unit, part: UnitDay) -> dict[str, object]:
    return {
        "path": unit.path,
        "day": part.day,
        "row_count": part.rows,
        "totals": totals_to_json(part.totals),
        "max_export_time": part.max_export_time,
    }


def _of(table: sa.Table, tenant_id: str, name: str, source: str) -> sa.ColumnElement[bool]:
    columns = table.c
    return sa.and_(
        columns.tenant_id == tenant_id, columns.table_name == name, columns.source == source
    )
