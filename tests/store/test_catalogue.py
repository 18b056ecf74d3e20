from convergence.store import catalogue
from convergence.store.database import Database


def test_a_migrated_store_has_no_drift(database: Database) -> None:
    with database.read() as tx:
        assert catalogue.drifts(tx.connection) == []
