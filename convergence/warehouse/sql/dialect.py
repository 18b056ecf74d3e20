"""BigQuery SQL that passed the gate becomes DuckDB SQL, exactly or not at all."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import duckdb
from sqlglot import ErrorLevel, exp
from sqlglot.errors import SqlglotError, UnsupportedError

from convergence.errors import CdpError, WarehouseError
from convergence.model.table import Column
from convergence.warehouse.sql.aliases import put_aliases
from convergence.warehouse.sql.arrays import name_fields, rewrite_arrays
from convergence.warehouse.sql.bounds import bound_values
from convergence.warehouse.sql.infer import annotate
from convergence.warehouse.sql.limits import check_reads, check_size, values_made
from convergence.warehouse.sql.names import Resolved, TableRef, put_tables
from convergence.warehouse.sql.rules import apply_rules
from convergence.warehouse.sql.statement import MISREAD, parse, refused
from convergence.warehouse.sql.type_faults import check_types
from convergence.warehouse.sql.views import information_schema
from convergence.warehouse.sql.visible import check_visible

Place = Callable[[TableRef], exp.Expr]
Columns = Callable[[TableRef], tuple[Column, ...]]


def to_duckdb(resolved: Resolved, *, place: Place, columns: Columns, bounded: bool = True) -> str:
    """The one DuckDB statement that means what `resolved` means.

    Unless it is of our own writing, its values are `bounded`.

    `place` gives what stands for a table: an exp.Table or an exp.Subquery; of what stands for a
    view of the information schema only catalog and db are used. `columns` gives a table's
    columns, empty when they are not known.
    Raises Invalid, code sql_refused, for what has no exact translation.
    """
    check_size(resolved.tree)
    known = {ref: () if ref.view else columns(ref) for ref in resolved.refs}
    placed = {ref: _placed(ref, place(ref), resolved) for ref in resolved.refs}
    tree = resolved.tree.copy()
    try:
        check_reads(tree)
        name_fields(tree)
        _name_queries(tree)
        put_aliases(tree)
        annotate(resolved, tree, known)
        check_visible(resolved, tree, known)
        check_types(tree)
        rewrite_arrays(tree)
        if bounded:
            bound_values(tree, values_made(tree))
        apply_rules(tree)
        _name_columns(tree, resolved.tree)
        put_tables(tree, resolved, placed)
        _order_unpivoted(tree)
        return tree.sql("duckdb", identify=True, comments=False, unsupported_level=ErrorLevel.RAISE)
    except UnsupportedError as error:
        raise refused(str(error).splitlines()[0], hint="write it another way") from None
    except (*MISREAD, SqlglotError):
        raise refused(
            "the statement has no meaning in BigQuery",
            code="sql_syntax",
            hint="look at the arguments of functions and at both sides of UNION",
        ) from None
    except RecursionError:
        raise refused("the statement is nested too deeply") from None


def _name_columns(tree: exp.Query, written: exp.Query) -> None:
    """A column of the result that is neither named nor a column is f0_, f1_ … to BigQuery."""
    number = count()
    for column, as_written in zip(list(tree.selects), written.selects, strict=True):
        if as_written.is_star or isinstance(column, exp.Alias):
            continue
        is_named = isinstance(as_written, exp.Column | exp.Dot)
        name = as_written.output_name if is_named else f"f{next(number)}_"
        if not (is_named and column.output_name == name):
            column.replace(exp.alias_(column.copy(), name))


def _name_queries(tree: exp.Query) -> None:
    """Queries in FROM need no name in BigQuery; SQLGlot tells them apart by theirs."""
    queries = [
        query
        for query in tree.find_all(exp.Subquery)
        if isinstance(query.parent, exp.From | exp.Join) and not query.alias
    ]
    for number, query in enumerate(queries[1:]):
        query.set("alias", exp.TableAlias(this=exp.to_identifier(f"query {number}", quoted=True)))


def _order_unpivoted(tree: exp.Query) -> None:
    """`SELECT *` of UNPIVOT ends in the values, then their names; DuckDB has them the other way."""
    for pivot in [found for found in tree.find_all(exp.Pivot) if found.unpivot]:
        select = pivot.find_ancestor(exp.Select)
        if select is None or select.expressions != [exp.Star()] or select.args.get("joins"):
            continue
        names = [*pivot.expressions, *(field.this for field in pivot.fields)]
        if all(isinstance(name, exp.Identifier) for name in names):
            star = exp.Star(except_=[name.copy() for name in names])
            select.set("expressions", [star, *(exp.column(name.copy()) for name in names)])


def _placed(ref: TableRef, stand_in: exp.Expr, resolved: Resolved) -> exp.Expr:
    if not ref.view:
        return stand_in
    return information_schema(stand_in, ref=ref, project=resolved.project)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fact:
    claim: str
    sql: str
    value: str


_FACTS = (
    _Fact(
        claim="NUMERIC keeps 9 places",
        sql="SELECT CAST('0.000173' AS NUMERIC)",
        value="0.000173000",
    ),
    _Fact(
        claim="an offset counts from 0",
        sql="SELECT o FROM UNNEST(['a']) AS x WITH OFFSET AS o",
        value="0",
    ),
    _Fact(
        claim="TIMESTAMP_DIFF counts whole units",
        sql="SELECT TIMESTAMP_DIFF(TIMESTAMP '2024-01-01 00:00:02.1+00', "
        "TIMESTAMP '2024-01-01 00:00:01.9+00', SECOND)",
        value="0",
    ),
    _Fact(
        claim="a session is in UTC",
        sql="SELECT DATE(TIMESTAMP '2024-01-01 23:30:00-02:00')",
        value="2024-01-02",
    ),
)
_BY_ZERO = "SELECT 1 / x FROM UNNEST([0]) AS x"


def self_test(execute: Callable[[str], object]) -> None:
    """Check on a live connection that the translation still means what it did.

    `execute` runs a statement and gives the one value of its one row. Raises WarehouseError.
    """
    for fact in _FACTS:
        value = execute(_translate_alone(fact.sql))
        if str(value) != fact.value:
            raise _drift(fact.claim, f"{value} instead of {fact.value}")
    try:
        value = execute(_translate_alone(_BY_ZERO))
    except (duckdb.Error, CdpError):
        return
    raise _drift("division by zero is an error", str(value))


def _translate_alone(sql: str) -> str:
    resolved = Resolved(tree=parse(sql), refs=(), project="")
    return to_duckdb(resolved, place=_no_table, columns=lambda _: ())


def _no_table(ref: TableRef) -> exp.Expr:
    raise refused(f"{ref.table} is not a table of the self-test")


def _drift(claim: str, found: str) -> WarehouseError:
    return WarehouseError(
        f"the SQL engine no longer behaves: {claim}, but it gave {found}",
        code="warehouse_drift",
        hint="install the versions of duckdb and sqlglot that this release names",
    )
