"""Tables that go by their retired names, `customer_*`: their rows move to `tenant_*`.

For `mend.py`, whose transaction it is, and for `catalogue.py`, which tells that they are there.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from convergence.errors import Conflict
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

    Raises Conflict for a column that has no place, or one that a row must have and lacks, and for
    a row that is there already with other values.
    """
    found = retired_tables(connection)
    for old, table in found:
        names = {
            present_name(column["name"]): column["name"]
            for column in sa.inspect(connection).get_columns(old)
        }
        _check(old, table, set(names))
        source = sa.table(old, *(sa.column(name) for name in names.values()))
        _check_rows(connection, source, table, names)
        rows = sa.select(*(source.columns[name] for name in names.values())).where(sa.true())
        insert = insert_into(table, connection.dialect.name)
        keys = list(table.primary_key.columns)
        yield insert.from_select(list(names), rows).on_conflict_do_nothing(index_elements=keys)
    for old, _ in reversed(found):
        yield sa.schema.DropTable(sa.Table(old, sa.MetaData()))


def _check_rows(
    connection: sa.Connection,
    source: sa.TableClause,
    table: sa.Table,
    names: Mapping[str, str],
) -> None:
    """Two rows of one key or of one unique key, and unlike: which is right, nobody can tell."""
    if not sa.inspect(connection).has_table(table.name):
        return
    keys = [table.primary_key, *_uniques(table)]
    mine = {name: source.columns[old] for name, old in names.items()}
    is_met = sa.or_(*(sa.and_(*(_same(mine, column) for column in key.columns)) for key in keys))
    differs = sa.or_(*(~_same(mine, table.columns[name]) for name in mine))
    query = sa.select(sa.func.count()).select_from(source.join(table, is_met)).where(differs)
    if unlike := connection.execute(query).scalar_one():
        raise Conflict(
            f"{unlike} rows of {source.name} are in {table.name} already, with other values",
            code="retired_table",
            hint="delete the wrong ones, here or there, and run cdp db migrate again",
        )


def _uniques(table: sa.Table) -> list[sa.UniqueConstraint]:
    found = [each for each in table.constraints if isinstance(each, sa.UniqueConstraint)]
    return sorted(found, key=lambda each: str(each.name))


def _same(
    mine: Mapping[str, sa.ColumnClause[Any]], column: sa.Column[Any]
) -> sa.ColumnElement[bool]:
    """As text: JSON has no equality on PostgreSQL."""
    if column.name not in mine:
        return sa.false()
    one, other = (sa.cast(each, sa.Text) for each in (mine[column.name], column))
    return one.is_not_distinct_from(other)


def _check(old: str, table: sa.Table, given: set[str]) -> None:
    needed = {
        column.name
        for column in table.columns
        if not column.nullable and column.server_default is None
    }
    wrong = sorted((given - set(table.columns.keys())) | (needed - given))
    if wrong:
        raise no_place(old, table.name, wrong)
