"""What is checked before the service starts: the SQL engine still means what it did."""

import duckdb
import pytest

from convergence.errors import WarehouseError
from convergence.warehouse.sql.dialect import self_test


def test_the_self_test_passes_here_and_tells_of_drift() -> None:
    with duckdb.connect(config={"async_threads": 1}) as connection:
        connection.execute("SET GLOBAL TimeZone='UTC'")

        def execute(sql: str) -> object:
            row = connection.execute(sql).fetchone()
            return row[0] if row else None

        self_test(execute)
        with pytest.raises(WarehouseError, match="NUMERIC keeps 9 places"):
            self_test(lambda sql: execute(sql.replace("DECIMAL(38, 9)", "DECIMAL")))
        with pytest.raises(WarehouseError, match="division by zero"):
            self_test(lambda sql: None if "ERROR(" in sql else execute(sql))
