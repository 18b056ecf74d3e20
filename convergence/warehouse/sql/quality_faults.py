"""What is wrong with quality checks before a row is looked at: columns, conditions, places."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from sqlglot import exp

from convergence.errors import Invalid
from convergence.model.check import Check, CheckKind
from convergence.model.finding import Finding, nearest
from convergence.model.table import TableSchema
from convergence.warehouse.sql.allowed import check_allowed
from convergence.warehouse.sql.quality_queries import is_of_all_rows
from convergence.warehouse.sql.statement import VARIABLE_MARK, condition


def find_faults(checks: Sequence[Check], schema: TableSchema | None) -> list[Finding]:
    """By path below the list of checks; without a schema nothing is said of columns."""
    return [fault for index, check in enumerate(checks) for fault in _of(check, index, schema)]


def _of(check: Check, index: int, schema: TableSchema | None) -> Iterator[Finding]:
    if check.column is not None:
        yield from _unknown(check.column, schema, Finding((index, "column"), ""))
    for place, column in enumerate(check.columns):
        yield from _unknown(column, schema, Finding((index, "columns", place), ""))
    for key, text in (("where", check.where), ("expression", check.expression)):
        if text is not None:
            yield from _in_sql(check, text, Finding((index, key), ""), schema)
    if check.pattern is not None and (said := _said_by_re2(check.pattern)):
        yield Finding((index, "pattern"), f"RE2 cannot read the pattern: {said}")
    if check.check is CheckKind.SUM_MATCHES_SOURCE and not (schema and schema.is_billing):
        message = "sum_matches_source is for a table that holds a bill"
        yield Finding((index, "check"), message, "leave it out")


@lru_cache(maxsize=256)
def _said_by_re2(pattern: str) -> str:
    """What is wrong with it; empty when nothing is."""
    import duckdb  # noqa: PLC0415 - takes longer to load than all else that reads a template

    with duckdb.connect() as engine:
        try:
            engine.execute("SELECT regexp_matches('', ?)", [pattern])
        except duckdb.Error as error:
            return str(error).splitlines()[0].removeprefix("Invalid Input Error: ")
    return ""


def _in_sql(check: Check, text: str, at: Finding, schema: TableSchema | None) -> Iterator[Finding]:
    try:
        tree = condition(text)
        check_allowed(exp.select(_without_variables(tree)))
        is_of_all = is_of_all_rows(text)
    except Invalid as error:
        yield Finding(at.path, error.detail, error.hint)
        return
    key = at.path[-1]
    if is_of_all and key == "where":
        yield Finding(at.path, "where is asked of each row: it cannot count or sum", "")
    if is_of_all and key == "expression" and (check.where or check.mostly != 1):
        message = "an expression with aggregates is true or false of all rows together"
        yield Finding(at.path, message, "leave where and mostly out; use COUNTIF or IF inside")
    for column in tree.find_all(exp.Column):
        is_own = not column.table and column.find_ancestor(exp.Query) is None
        if is_own and not column.name.startswith(VARIABLE_MARK):
            yield from _unknown(column.name, schema, Finding(at.path, "", needle=column.name))


def _without_variables(tree: exp.Expr) -> exp.Expr:
    def known(node: exp.Expr) -> exp.Expr:
        is_variable = isinstance(node, exp.Column) and node.name.startswith(VARIABLE_MARK)
        return exp.null() if is_variable else node

    return tree.transform(known)


def _unknown(name: str, schema: TableSchema | None, at: Finding) -> Iterator[Finding]:
    if schema is None or name in schema.column_names:
        return
    message = f"{schema.name} has no column {name[:60]}"
    yield Finding(at.path, message, nearest(name, schema.column_names), needle=at.needle)
