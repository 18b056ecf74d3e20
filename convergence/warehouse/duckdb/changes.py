"""What a load changes, key by key: the rows that are replaced beside those that replace them."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date

import duckdb
from sqlglot import exp, parse_one

from convergence.model.restatement import Change
from convergence.warehouse.changed import KEYS, change
from convergence.warehouse.duckdb.sums import Slice, hash_of
from convergence.warehouse.sql import fill

OLD = "rows_replaced"

# Equal rows are counted together, so that twins which are both real stay two; a row that is in
# both states weighs the same in both.
_DIFFERENCE = parse_one(
    f"""
    SELECT key_day, {", ".join(KEYS)},
      sum(was)::BIGINT, sum(was * cost), sum(was * credits),
      sum("is")::BIGINT, sum("is" * cost), sum("is" * credits),
      sum(greatest(was - "is", 0))::BIGINT,
      sum(CASE WHEN is_correction THEN greatest("is" - was, 0) ELSE 0 END)::BIGINT
    FROM (
      SELECT key_day, {", ".join(KEYS)}, row_hash,
        any_value(cost) AS cost, any_value(credits) AS credits,
        any_value(is_correction) AS is_correction,
        count(*) FILTER (is_old) AS was, count(*) FILTER (NOT is_old) AS "is"
      FROM rows_of_both GROUP BY ALL
    )
    GROUP BY ALL
    HAVING sum(was) <> sum("is") OR sum(was * cost) <> sum("is" * cost)
      OR sum(was * credits) <> sum("is" * credits)
    ORDER BY ALL
    """,  # noqa: S608 - names of columns, written above
    dialect="duckdb",
)


def keep_old(cursor: duckdb.DuckDBPyConnection, rows: Slice, day: exp.Expr) -> None:
    """Remember, until the cursor is closed, the amounts of rows that will be deleted, by `day`."""
    create = exp.Create(
        this=exp.table_(OLD),
        kind="TABLE",
        replace=True,
        properties=exp.Properties(expressions=[exp.TemporaryProperty()]),
        expression=_amounts(rows, day, is_old=True),
    )
    cursor.execute(create.sql("duckdb"))


def by_day(
    cursor: duckdb.DuckDBPyConnection, rows: Slice, day: exp.Expr, days: Sequence[date]
) -> dict[date, tuple[Change, ...]]:
    """Of each of the days the keys whose rows or sums differ from those that are kept, in order."""
    of_them = exp.In(
        this=exp.column("key_day"), expressions=[fill.literal(each, day) for each in days]
    )
    old = exp.select("*").from_(exp.table_(OLD)).where(of_them)
    both = exp.union(_amounts(rows, day, is_old=False), old, distinct=False, copy=False)
    query = _DIFFERENCE.copy()
    query.set("with_", exp.With(expressions=[_named("rows_of_both", both)]))
    found = defaultdict[date, list[Change]](list)
    for of_day, *row in cursor.execute(query.sql("duckdb")).fetchall():
        found[of_day].append(change(row))
    return {of_day: tuple(changes) for of_day, changes in found.items()}


def _amounts(rows: Slice, day: exp.Expr, *, is_old: bool) -> exp.Select:
    zero, empty = exp.Literal.number(0), exp.Literal.string("")
    credits_ = exp.func("COALESCE", exp.column("credits_total", quoted=True), zero)
    # A record that tells anything has a text; one of NULLs has none.
    correction = exp.column("x_adjustment_json", quoted=True).like('%:"%')
    adjustment = exp.column("cost_type", quoted=True).eq("adjustment")
    corrects = exp.func("COALESCE", exp.or_(correction, adjustment), exp.false())
    return (
        exp.select(
            exp.alias_(day.copy(), "key_day"),
            *(
                exp.alias_(exp.func("COALESCE", exp.column(key, quoted=True), empty.copy()), key)
                for key in KEYS
            ),
            exp.column("cost", quoted=True),
            exp.alias_(credits_, "credits"),
            exp.alias_(corrects, "is_correction"),
            exp.alias_(hash_of(rows.columns), "row_hash"),
            exp.alias_(exp.true() if is_old else exp.false(), "is_old"),
        )
        .from_(rows.table)
        .where(rows.where)
    )


def _named(name: str, query: exp.Query) -> exp.CTE:
    return exp.CTE(this=query, alias=exp.TableAlias(this=exp.to_identifier(name)))
