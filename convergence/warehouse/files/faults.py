"""DuckDB's errors as ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from convergence.errors import Invalid, WarehouseError
from convergence.warehouse.files.shapes import first_line
from convergence.warehouse.sql import names
from convergence.warehouse.sql.faults import sql_fault

DAMAGED = "Corrupt database file"
"""In DuckDB's words about a block that is not as it was written."""


@contextmanager
def told(resolved: names.Resolved | None = None) -> Iterator[None]:
    """What a statement did wrong is Invalid, told of what was sent."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise Invalid(
            "the statement needs more memory than it may use",
            code="query_too_large",
            hint="ask for fewer rows, days or groups",
        ) from error
    except duckdb.ConstraintException as error:
        raise WarehouseError(
            f"rows that are there stand in the way: {first_line(error)}",
            hint="nothing was changed; mend or move away those rows first",
        ) from error
    except (duckdb.IOException, duckdb.FatalException, duckdb.InternalException) as error:
        raise WarehouseError(
            f"the warehouse broke: {first_line(error)}", hint="see the log; try again"
        ) from error
    except duckdb.Error as error:
        if DAMAGED in str(error):
            raise WarehouseError(
                f"the tenant's file is damaged: {first_line(error)}",
                code="warehouse_damaged",
                hint="restore it from a backup; its place is warehouse/ in CDP_HOME",
            ) from error
        if resolved is not None:
            raise sql_fault(resolved, str(error)) from error
        raise WarehouseError(f"the warehouse refused: {first_line(error)}") from error
