"""Stores from the time when tenants were customers keep their rows and lose the names."""

import pytest
import sqlalchemy as sa

from convergence.errors import Conflict
from convergence.model.drift import DriftKind
from convergence.store import catalogue, mend
from convergence.store.database import Database
from convergence.store.tables import tenant_profiles, tenant_usage_quotas
from tests.store.conftest import NOW, add_tenant
from tests.store.test_migrate import shape

OLD = (
    (
        "CREATE TABLE customer_profiles AS SELECT tenant_id AS customer_id, company_name,"
        " admin_email,"
        " tenant_dataset_id AS customer_dataset_id, subscription_plan, created_at"
        " FROM tenant_profiles"
    ),
    (
        "CREATE TABLE customer_usage_quotas AS SELECT usage_id, tenant_id AS customer_id,"
        " usage_date,"
        " pipelines_run_today, daily_limit, last_updated, created_at FROM tenant_usage_quotas"
    ),
)


@pytest.fixture
def old(database: Database) -> Database:
    """The rows of acme lie in tables of the retired names; those of other do not."""
    with database.write() as tx:
        add_tenant(tx, "acme")
        row = {"usage_id": "u1", "tenant_id": "acme", "usage_date": NOW.date(), "daily_limit": 6}
        times = {"last_updated": NOW, "created_at": NOW, "pipelines_run_today": 5}
        tx.write(sa.insert(tenant_usage_quotas), row | times)
        for statement in OLD:
            tx.connection.exec_driver_sql(statement)
        tx.write(sa.delete(tenant_usage_quotas))
        tx.connection.exec_driver_sql("DELETE FROM tenant_subscriptions")
        tx.write(sa.delete(tenant_profiles))
        add_tenant(tx, "other")
    return database


def test_rows_under_retired_names_move_and_no_such_name_is_left(old: Database) -> None:
    with old.read() as tx:
        told = {(each.kind, each.table) for each in catalogue.drifts(tx.connection)}
    assert told == {
        (DriftKind.RETIRED, "customer_profiles"),
        (DriftKind.RETIRED, "customer_usage_quotas"),
    }
    assert mend.mend(old) != []
    with old.read() as tx:
        tenants = tx.connection.execute(sa.select(tenant_profiles.c.tenant_id)).scalars().all()
        (usage,) = tx.connection.execute(sa.select(tenant_usage_quotas)).mappings()
    assert sorted(tenants) == ["acme", "other"]
    assert (usage["tenant_id"], usage["pipelines_run_today"]) == ("acme", 5)
    assert (usage["quota_exceeded"], usage["created_at"]) == (False, NOW)
    assert not any("customer" in name for name in shape(old))
    assert mend.mend(old) == []


def test_a_column_without_a_place_stops_the_move_and_nothing_is_lost(old: Database) -> None:
    with old.write() as tx:
        tx.connection.exec_driver_sql("ALTER TABLE customer_profiles ADD COLUMN region VARCHAR")
    before = shape(old)
    with pytest.raises(Conflict, match="region"):
        mend.mend(old)
    assert shape(old) == before


def test_a_row_that_is_there_with_other_values_stops_the_move_and_nothing_is_lost(
    old: Database,
) -> None:
    with old.write() as tx:
        row = {"usage_id": "u2", "tenant_id": "other", "usage_date": NOW.date(), "daily_limit": 6}
        tx.write(sa.insert(tenant_usage_quotas), row | {"last_updated": NOW, "created_at": NOW})
        tx.connection.exec_driver_sql("UPDATE customer_usage_quotas SET customer_id = 'other'")
    before = shape(old)
    with pytest.raises(Conflict, match="1 rows of customer_usage_quotas"):
        mend.mend(old)
    assert shape(old) == before
