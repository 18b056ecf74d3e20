"""A tenant's tables are others from now on. For `engine/move.py` and `engine/migrate.py`."""

from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from convergence.model.load import LoadStatus, SourceState
from convergence.model.tenant import WarehouseKind
from convergence.store import versions
from convergence.store.database import WriteTx, insert_into
from convergence.store.tables import (
    ledger_dirty,
    loads,
    pipeline_runs,
    source_unit_days,
    source_units,
    source_watermarks,
    tenant_profiles,
)


def move(tx: WriteTx, tenant_id: str, warehouse: WarehouseKind, *, now: datetime) -> None:
    """Everything is published again there."""
    profiles = tenant_profiles
    change = sa.update(profiles).where(profiles.c.tenant_id == tenant_id)
    tx.write(change.values(warehouse=warehouse.value, updated_at=now))
    look_anew(tx, tenant_id)


def look_anew(tx: WriteTx, tenant_id: str) -> None:
    """The tables are others: everything is published to them again. Where sources were found is
    history: the next sync looks at all of them anew.
    """
    versions.advance(tx, tenant_id)
    for table in (source_unit_days, source_units, source_watermarks):
        tx.write(sa.delete(table).where(table.c.tenant_id == tenant_id))
    _leave_sources(tx, tenant_id)
    publish_anew(tx, tenant_id)


def publish_anew(tx: WriteTx, tenant_id: str) -> None:
    """All copies of what the store says of a tenant are to be made again, those too that are
    being made now.
    """
    marks = ledger_dirty.c
    again = sa.update(ledger_dirty).where(marks.tenant_id == tenant_id)
    tx.write(again.values(version=marks.version + 1))
    publish_rest(tx, tenant_id)


def publish_rest(tx: WriteTx, tenant_id: str) -> None:
    """All copies are to be made that are not yet due."""
    mark = insert_into(ledger_dirty, tx.dialect).values(tenant_id=tenant_id, run_id="", version=1)
    tx.write(mark.on_conflict_do_nothing())
    _mark_runs(tx, tenant_id)


def _leave_sources(tx: WriteTx, tenant_id: str) -> None:
    is_published = loads.c.status == LoadStatus.PUBLISHED.value
    query = sa.select(loads.c.load_id, loads.c.source_state)
    found = tx.connection.execute(query.where(loads.c.tenant_id == tenant_id, is_published)).all()
    for load_id, state in found:
        left = replace(SourceState.from_json(state), is_elsewhere=True)
        change = sa.update(loads).where(loads.c.tenant_id == tenant_id, loads.c.load_id == load_id)
        tx.write(change.values(source_state=left.to_json()))


def _mark_runs(tx: WriteTx, tenant_id: str) -> None:
    runs, dirty = pipeline_runs.c, ledger_dirty
    known = sa.select(dirty.c.run_id).where(dirty.c.tenant_id == tenant_id)
    rows = sa.select(runs.tenant_id, runs.run_id, sa.literal(1)).where(
        runs.tenant_id == tenant_id, runs.run_id.not_in(known)
    )
    names = ["tenant_id", "run_id", "version"]
    tx.write(insert_into(dirty, tx.dialect).from_select(names, rows))
