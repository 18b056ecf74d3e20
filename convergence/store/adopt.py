"""Tables that go by their retired names, `customer_*`: their rows move to `tenant_*`.

For `mend.py`, whose transaction it is, and for `catalogue.py`, which tells that they are there.
"""

from collections.abc import Iterator

import sqlalchemy as sa

from convergence.model.retired import no_place, present_name, retired_name
from convergence.store.database import insert_into
from convergence.store.tables import metadata


def retired_tables(connection: sa.Connection) -> list[tuple[str, sa.Table]]:
    """Retired names that are there, with the table that each became; parents first."""
    there = set(sa.inspect(connection).get_table_names())
    names = [
        (retired_name(table.name), table)
        for table in metadata.sorted_tables
        if retired_name(table.name) != table.name
    ]
    return [(name, table) for name, table in names if name in there]


def adopt(connection: sa.Connection) -> Iterator[sa.Insert | sa.schema.DropTable]:
    """Rows that are not there yet, column by column, then the old tables go.

    Raises Conflict for a column that has no place, or one that a row must have and lacks.
    """
    found = retired_tables(connection)
    for old, table in found:
        names = {
            present_name(column["name"]): column["name"]
            for column in sa.inspect(connection).get_columns(old)
        }
        _check(old, table, set(names))
        source = sa.table(old, *(sa.column(name) for name in names.values()))
        rows = sa.select(*(source.columns[name] for name in names.values())).where(sa.true())
        insert = insert_into(table, connection.dialect.name)
        yield insert.from_select(list(names), rows).on_conflict_do_nothing()
    for old, _ in reversed(found):
        yield sa.schema.DropTable(sa.Table(old, sa.MetaData()))


def _check(old: str, table: sa.Table, given: set[str]) -> None:
    needed = {
        column.name
        for column in table.columns
        if not column.nullable and column.server_default is None
    }
    wrong = sorted((given - set(table.columns.keys())) | (needed - given))
    if wrong:
        raise no_place(old, table.name, wrong)
