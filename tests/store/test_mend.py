"""A store whose tables differ from the schema is brought back to it, and keeps its rows."""

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import pytest
import sqlalchemy as sa

from convergence.errors import Conflict
from convergence.model.drift import DriftKind, Verdict
from convergence.store import catalogue, mend
from convergence.store.database import Database
from convergence.store.tables import ledger_dirty, tenant_usage_quotas
from tests.store.conftest import NINE, USED
from tests.store.test_migrate import shape

SUBSETS = [lost for size in range(10) for lost in combinations(NINE, size)]
SAMPLE = [*SUBSETS[::127], SUBSETS[-1]]


def usage_row(database: Database) -> dict[str, Any]:
    with database.read() as tx:
        return dict(tx.connection.execute(sa.select(tenant_usage_quotas)).one()._mapping)


def lose(database: Database, lost: tuple[str, ...], table: str = "tenant_usage_quotas") -> None:
    with database.write() as tx:
        for name in lost:
            tx.connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {name}")


def check_subsets(database: Database, subsets: list[tuple[str, ...]]) -> None:
    """Each: exactly the schema afterwards, rows as they were or with the default, and no more."""
    before, whole = shape(database), usage_row(database)
    for lost in subsets:
        with database.write() as tx:
            tx.write(sa.update(tenant_usage_quotas).values(USED))
        lose(database, lost)
        done = mend.mend(database)
        assert bool(done) is bool(lost)
        assert shape(database) == before
        wanted = whole | {name: NINE[name][1] for name in lost}
        assert usage_row(database) == wanted
        assert mend.mend(database) == []


def test_a_sample_of_lost_columns_comes_back_in_place(used: Database) -> None:
    check_subsets(used, SAMPLE)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_512_subsets_of_the_nine_columns_come_back_in_place(used: Database) -> None:
    assert len(SUBSETS) == 512
    check_subsets(used, SUBSETS)


def test_what_was_lost_around_a_table_comes_back(used: Database) -> None:
    before = shape(used)
    with used.write() as tx:
        for statement in (
            "DROP INDEX uq_pipeline_runs_live",
            "DROP TABLE outbox",
            "ALTER TABLE tenant_profiles DROP COLUMN updated_at",
        ):
            tx.connection.exec_driver_sql(statement)
    with used.read() as tx:
        kinds = {drift.kind for drift in catalogue.drifts(tx.connection)}
    assert kinds == {DriftKind.INDEX, DriftKind.TABLE, DriftKind.COLUMN}
    planned = mend.plan(used)
    assert mend.mend(used) == planned
    assert shape(used) == before
    assert usage_row(used)["usage_id"] == "u1"
    with used.write() as tx, pytest.raises(sa.exc.IntegrityError):
        tx.connection.exec_driver_sql("DELETE FROM tenant_profiles")


def test_a_table_and_one_that_refers_to_it_are_mended_together(used: Database) -> None:
    with used.write() as tx:
        tx.connection.exec_driver_sql("ALTER TABLE pipeline_runs DROP COLUMN error")
        tx.connection.exec_driver_sql("ALTER TABLE step_logs DROP COLUMN error")
    assert mend.mend(used) != []
    assert mend.mend(used) == []


def test_an_index_of_the_right_name_and_another_form_is_made_anew(used: Database) -> None:
    with used.write() as tx:
        tx.connection.exec_driver_sql("DROP INDEX uq_pipeline_runs_live")
        made = "CREATE INDEX uq_pipeline_runs_live ON pipeline_runs (run_id)"
        tx.connection.exec_driver_sql(made)
    with used.read() as tx:
        (drift,) = catalogue.drifts(tx.connection)
    assert (drift.kind, drift.column) == (DriftKind.INDEX, "uq_pipeline_runs_live")
    assert drift.found == "(run_id)"
    assert mend.mend(used) != []
    assert mend.mend(used) == []


def test_an_extra_column_stays_with_its_values_until_that_is_approved(used: Database) -> None:
    before = shape(used)
    with used.write() as tx:
        for statement in (
            "ALTER TABLE tenant_usage_quotas ADD COLUMN extra VARCHAR",
            "UPDATE tenant_usage_quotas SET extra = 'kept'",
            "ALTER TABLE tenant_usage_quotas DROP COLUMN quota_exceeded",
        ):
            tx.connection.exec_driver_sql(statement)
    mend.mend(used)
    with used.read() as tx:
        (left,) = catalogue.drifts(tx.connection)
        kept = tx.connection.exec_driver_sql("SELECT extra FROM tenant_usage_quotas").scalar()
    assert (left.kind, left.column, left.verdict) == (DriftKind.EXTRA, "extra", Verdict.APPROVAL)
    assert kept == "kept"
    assert mend.mend(used) == []
    assert mend.mend(used, approved=True)
    assert shape(used) == before


def test_a_mending_that_is_refused_leaves_all_as_it_was(used: Database) -> None:
    lose(used, ("quota_exceeded",))
    lose(used, ("company_name",), table="tenant_profiles")
    before = shape(used)
    with pytest.raises(Conflict, match="company_name"):
        mend.mend(used, approved=True)
    assert shape(used) == before


def test_numbers_of_an_identity_go_on_after_a_mending(used: Database) -> None:
    with used.write() as tx:
        tx.write(sa.delete(ledger_dirty))
        for run_id in ("r1", "r2"):
            tx.write(sa.insert(ledger_dirty), {"tenant_id": "acme", "run_id": run_id, "version": 1})
        tx.connection.exec_driver_sql("ALTER TABLE ledger_dirty ADD COLUMN extra VARCHAR")
    mend.mend(used, approved=True)
    with used.write() as tx:
        tx.write(sa.insert(ledger_dirty), {"tenant_id": "acme", "run_id": "r3", "version": 1})
        ids = tx.connection.execute(sa.select(ledger_dirty.c.dirty_id)).scalars().all()
    assert len(set(ids)) == 3
    assert max(ids) == ids[-1]


def test_eight_menders_at_once_mend_once(used: Database, url: str) -> None:
    lose(used, tuple(NINE))
    databases = [Database(url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(mend.mend, databases))
    for each in databases:
        each.close()
    assert len([statements for statements in done if statements]) == 1
