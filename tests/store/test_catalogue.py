import pytest

from convergence.store import catalogue, migrate
from convergence.store.database import Database
from tests.conftest import postgres_url
from tools.write_sql import files


def test_a_migrated_store_has_no_drift(database: Database) -> None:
    with database.read() as tx:
        assert catalogue.drifts(tx.connection) == []


@pytest.mark.postgres
def test_a_store_made_by_hand_is_at_its_schema(request: pytest.FixtureRequest) -> None:
    database = Database(next(postgres_url(request)))
    with database.write() as tx:
        tx.connection.exec_driver_sql(files()["control_store.postgresql.sql"])
    with database.read() as tx:
        assert catalogue.drifts(tx.connection) == []
    assert migrate.status(database).is_current
    database.close()
