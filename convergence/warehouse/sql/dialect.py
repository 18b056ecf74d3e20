"""BigQuery SQL that passed the gate becomes DuckDB SQL, exactly or not at all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count

import duckdb
from sqlglot import ErrorLevel, exp
from sqlglot.errors import SqlglotError, UnsupportedError

from convergence.errors import CdpError, WarehouseError
from convergence.model.table import Column
from convergence.warehouse.sql.arrays import name_fields, rewrite_arrays
from convergence.warehouse.sql.infer import annotate
from convergence.warehouse.sql.names import Resolved, TableRef, put_tables
from convergence.warehouse.sql.rules import apply_rules
from convergence.warehouse.sql.statement import MISREAD, parse, refused
from convergence.warehouse.sql.views import information_schema

Place = Callable[[TableRef], exp.Expr]
Columns = Callable[[TableRef], tuple[Column, ...]]
Weight = Callable[[exp.Expr], int]

MAX_SIZE = 200_000
MAX_READS = 250
MAX_JOINS = 100
"""Of a whole statement: at these numbers the engine plans for less than a second or two."""
_COPIES: dict[type[exp.Expr], int] = {
    **dict.fromkeys((exp.Div, exp.Mod, exp.IntDiv, exp.SafeDivide, exp.Greatest, exp.Least), 2),
    **dict.fromkeys((exp.Left, exp.Right, exp.Corr, exp.ParseJSON, exp.Unicode), 2),
    **dict.fromkeys((exp.Repeat, exp.Pad, exp.Replace, exp.RegexpReplace, exp.Levenshtein), 2),
    **dict.fromkeys((exp.GenerateSeries, exp.GenerateDateArray), 2),
    exp.Substring: 4,
    **dict.fromkeys((exp.Length, exp.Ceil, exp.Floor, exp.StrPosition), 3),
    **dict.fromkeys((exp.RegexpInstr, exp.Cast, exp.TryCast), 6),
}
"""How often the translation of a construct holds its operand; measured for every function."""


def to_duckdb(resolved: Resolved, *, place: Place, columns: Columns) -> str:
    """The one DuckDB statement that means what `resolved` means.

    `place` gives what stands for a table: an exp.Table or an exp.Subquery; of what stands for a
    view of the information schema only catalog and db are used. `columns` gives a table's
    columns, empty when they are not known.
    Raises Invalid, code sql_refused, for what has no exact translation.
    """
    _check_growth(resolved.tree)
    known = {ref: () if ref.view else columns(ref) for ref in resolved.refs}
    placed = {ref: _placed(ref, place(ref), resolved) for ref in resolved.refs}
    tree = resolved.tree.copy()
    try:
        _check_reads(tree)
        name_fields(tree)
        annotate(resolved, tree, known)
        rewrite_arrays(tree)
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


def _check_growth(tree: exp.Query) -> None:
    """Some constructs write an operand several times: nested, they would fill the memory."""
    size = 0
    stack: list[tuple[exp.Expr, int]] = [(tree, 1)]
    while stack:
        node, times = stack.pop()
        size += times
        if size > MAX_SIZE:
            raise refused("the statement is too complicated", hint="name the parts with WITH")
        times *= _COPIES.get(type(node), 1)
        stack.extend((child, times) for child in node.iter_expressions())


def _check_reads(tree: exp.Query) -> None:
    """A part of WITH is planned wherever it is named: a few lines could name tables by millions.

    The engine's planner heeds neither its limit of memory nor an interruption.
    """
    parts = {cte.alias: cte.this for cte in tree.find_all(exp.CTE)}
    for what, most, weight in (
        ("reads tables", MAX_READS, _is_read),
        ("joins tables", MAX_JOINS, _is_join),
    ):
        if _total(tree, parts, {}, weight) > most:
            raise refused(
                f"the statement {what} more than {most} times",
                hint="a part of WITH counts as often as it is named, a SELECT without FROM "
                "as a table",
            )


def _is_read(node: exp.Expr) -> bool:
    return isinstance(node, exp.Table) or (
        isinstance(node, exp.Select) and not node.args.get("from_")
    )


def _is_join(node: exp.Expr) -> bool:
    return isinstance(node, exp.Join)


def _total(
    node: exp.Expr, parts: Mapping[str, exp.Expr], known: dict[str, int], weight: Weight
) -> int:
    """The weights of a node, each part of WITH in place of its name; in itself it is a table."""
    total = 0
    for found in node.find_all(exp.Table, exp.Select, exp.Join):
        name = found.name if isinstance(found, exp.Table) else ""
        if name in parts and name not in known:
            known[name] = weight(found)
            known[name] = _total(parts[name], parts, known, weight)
        total += known.get(name, weight(found))
    return total


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
