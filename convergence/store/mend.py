"""Mends a store whose tables differ from `tables.py`, in one transaction; for `engine/migrate.py`.

A table that differs is kept aside, made anew and filled again, since neither SQLite nor
PostgreSQL can put a column in its place. Migrations lead from one version to the next;
this leads back to the version the store says it is at.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from convergence.errors import Conflict
from convergence.model.drift import Drift, DriftKind, Verdict
from convergence.model.table import TableSchema
from convergence.store import catalogue
from convergence.store.adopt import adopt
from convergence.store.alone import enter_alone, patiently
from convergence.store.database import SCHEMA, Database
from convergence.store.tables import metadata

_KEPT = "x_kept_{}"

Statement = sa.schema.ExecutableDDLElement | sa.Insert | sa.Select[Any]


def mend(database: Database, *, approved: bool = False) -> list[str]:
    """Everything that may be mended; the statements. `approved`: what needs approval, too.

    Raises Unavailable, Conflict; then nothing is changed.
    """
    return patiently(lambda: _mend(database, approved=approved))


def _mend(database: Database, *, approved: bool) -> list[str]:
    with database.rebuild() as tx:
        enter_alone(tx)
        done = []
        for statement in _statements(tx.connection, approved=approved):
            _run(tx.connection, statement)
            done.append(_text(tx.connection, statement))
        return done


def _run(connection: sa.Connection, statement: Statement) -> None:
    try:
        connection.execute(statement)
    except sa.exc.IntegrityError as error:
        raise Conflict(
            f"rows that are there stand in the way: {_first_line(error.orig)}",
            code="rows_in_the_way",
            hint="nothing was changed; mend or move away those rows, then run it again",
        ) from error


def _first_line(reason: object) -> str:
    """Without the row that PostgreSQL shows behind it."""
    return next(iter(str(reason).splitlines()), "")


def plan(database: Database, *, approved: bool = False) -> list[str]:
    """The statements of `mend`, which are not run."""
    with database.read() as tx:
        found = _statements(tx.connection, approved=approved)
        return [_text(tx.connection, statement) for statement in found]


def _text(connection: sa.Connection, statement: Statement) -> str:
    return " ".join(str(statement.compile(dialect=connection.dialect)).split())


def _statements(connection: sa.Connection, *, approved: bool) -> Iterator[Statement]:
    there = catalogue.live_tables(connection)
    drifts = catalogue.drifts(connection)
    cut: dict[sa.ForeignKeyConstraint, sa.Table] = {}
    """Foreign keys that are dropped while what they lead to is made anew, and whose they are."""
    for table in metadata.sorted_tables:
        mine = [drift for drift in drifts if drift.table == table.name]
        if not _may_mend(mine, approved=approved):
            continue
        live = there.get(table.name)
        if live is None:
            yield from _create(table)
        elif all(drift.kind is DriftKind.INDEX for drift in mine):
            yield from _indexed(table, mine)
        else:
            if connection.dialect.name != "sqlite":
                references = _references(connection, table)
                cut |= {each: each.table for each in references}
                yield from (sa.schema.DropConstraint(each) for each in references)
            cut = {each: owner for each, owner in cut.items() if owner is not table}
            yield from _anew(connection, table, live, approved=approved)
    yield from adopt(connection)
    yield from (sa.schema.AddConstraint(each, isolate_from_table=False) for each in cut)


def _may_mend(drifts: Sequence[Drift], *, approved: bool) -> bool:
    """An extra column alone stays until somebody approves that it is dropped."""
    if approved:
        return bool(drifts) and all(each.verdict is not Verdict.FORBIDDEN for each in drifts)
    verdicts = {drift.verdict for drift in drifts if drift.kind is not DriftKind.EXTRA}
    return verdicts == {Verdict.ADDITIVE}


def _anew(
    connection: sa.Connection, table: sa.Table, live: TableSchema, *, approved: bool
) -> Iterator[Statement]:
    """Put the table aside, make it anew, fill it."""
    extra = () if approved else _extra(connection, table)
    made = _copy(table, extra)
    old = sa.table(table.name, *(sa.column(name) for name in live.column_names))
    kept = sa.select(old).into(_KEPT.format(table.name))
    values = {column.name: _value(connection, kept.table, column, live) for column in made.columns}
    yield kept
    yield sa.schema.DropTable(table)
    yield from _create(made)
    yield sa.insert(sa.table(table.name, *(sa.column(name) for name in values))).from_select(
        list(values), sa.select(*values.values())
    )
    yield sa.schema.DropTable(kept.table)
    if connection.dialect.name != "sqlite":
        yield from sequences(table)


def _create(table: sa.Table) -> Iterator[Statement]:
    yield sa.schema.CreateTable(table)
    yield from (sa.schema.CreateIndex(index) for index in _indexes(table))


def _indexed(table: sa.Table, drifts: Sequence[Drift]) -> Iterator[Statement]:
    found = {drift.column: drift.found for drift in drifts}
    for index in _indexes(table):
        if found.get(str(index.name)):
            yield sa.schema.DropIndex(index)
        if str(index.name) in found:
            yield sa.schema.CreateIndex(index)


def _indexes(table: sa.Table) -> list[sa.Index]:
    return sorted(table.indexes, key=lambda index: str(index.name))


def _copy(table: sa.Table, extra: Sequence[sa.Column[Any]]) -> sa.Table:
    """The table with more columns, among tables that it may refer to."""
    others = sa.MetaData(naming_convention=metadata.naming_convention)
    for other in metadata.sorted_tables:
        other.to_metadata(others)
    made = others.tables[table.name]
    for column in extra:
        made.append_column(column)
    return made


def _extra(connection: sa.Connection, table: sa.Table) -> list[sa.Column[Any]]:
    return [
        sa.Column(found["name"], found["type"])
        for found in sa.inspect(connection).get_columns(table.name)
        if found["name"] not in table.columns
    ]


def _value(
    connection: sa.Connection, kept: sa.FromClause, column: sa.Column[Any], live: TableSchema
) -> sa.ColumnElement[Any]:
    """What a row that is there has: its own, or else the default."""
    said = catalogue.default_of(column, connection.dialect)
    default: sa.ColumnElement[Any] = sa.null() if said is None else sa.literal_column(said)
    if column.name not in live.column_names:
        return default
    value = kept.columns[column.name]
    return value if column.nullable or said is None else sa.func.coalesce(value, default)


def _references(connection: sa.Connection, table: sa.Table) -> list[sa.ForeignKeyConstraint]:
    """The foreign keys of other tables that lead to this one, as far as they are there."""
    inspector = sa.inspect(connection)
    return [
        each
        for other in metadata.sorted_tables
        if other is not table and inspector.has_table(other.name)
        for each in sorted(other.foreign_key_constraints, key=lambda each: str(each.name))
        if each.referred_table is table
        and str(each.name) in {found["name"] for found in inspector.get_foreign_keys(other.name)}
    ]


def sequences(table: sa.Table) -> Iterator[Statement]:
    """PostgreSQL counts on from the largest number that is there."""
    for column in table.columns:
        if column.identity is not None:
            sequence = sa.func.pg_get_serial_sequence(f"{SCHEMA}.{table.name}", column.name)
            highest = sa.func.max(column)
            yield sa.select(
                sa.func.setval(sequence, sa.func.coalesce(highest, 1), highest.is_not(None))
            )
