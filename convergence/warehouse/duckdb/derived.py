"""Tables that hold a query's answer over another table: made with it, and kept equal to it."""

import duckdb
from sqlglot import exp, parse_one

from convergence.model.table import TableSchema
from convergence.warehouse.schemas import tenant_schemas


def of(table: str) -> list[TableSchema]:
    """The tables that hold answers over `table`."""
    return [each for each in tenant_schemas().values() if each.query and base_of(each) == table]


def base_of(schema: TableSchema) -> str:
    """The table that decides the rows: the one that the query reads, else its own."""
    return _base(_query(schema)).name if schema.query else schema.name


def filled(place: exp.Table, schema: TableSchema, where: exp.Expr | None = None) -> exp.Insert:
    """The answer over the rows `where`, into the table."""
    query = _query(schema)
    base = _base(query)
    names = [exp.to_identifier(name, quoted=True) for name in query.named_selects]
    base.replace(beside(place, base.name))
    return exp.insert(query.where(where), place.copy(), columns=names, copy=False)


def refresh(cursor: duckdb.DuckDBPyConnection, base: exp.Table, where: exp.Expr | None) -> None:
    """After rows `where` of `base` were replaced, do the same with what is derived from them.

    `where` names columns that both have; without it all rows are anew.
    """
    for schema in of(base.name):
        place = beside(base, schema.name)
        cursor.execute(exp.delete(place, where=where).sql("duckdb"))
        cursor.execute(filled(place, schema, where).sql("duckdb"))


def _query(schema: TableSchema) -> exp.Select:
    tree = parse_one(schema.query, dialect="bigquery")
    if not isinstance(tree, exp.Select):
        raise TypeError(f"{schema.name}: the query is no SELECT")
    return tree


def _base(query: exp.Select) -> exp.Table:
    (table,) = query.find_all(exp.Table)
    return table


def beside(place: exp.Table, name: str) -> exp.Table:
    """The table of that name where `place` lies."""
    table = place.copy()
    table.set("this", exp.to_identifier(name, quoted=True))
    return table
