"""What a load changes, key by key: the rows that are replaced beside those that replace them."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlglot import exp, parse_one

from convergence.model.restatement import Change
from convergence.model.table import Column
from convergence.warehouse.bigquery.sums import hash_of
from convergence.warehouse.changed import KEYS, change

# Equal rows are counted together, so that twins which are both real stay two; a row that is in
# both states weighs the same in both.
_DIFFERENCE = f"""
SELECT {", ".join(KEYS)},
  SUM(was), SUM(was * cost), SUM(was * credits),
  SUM(now), SUM(now * cost), SUM(now * credits),
  SUM(GREATEST(was - now, 0)), SUM(IF(is_correction, GREATEST(now - was, 0), 0))
FROM (
  SELECT {", ".join(KEYS)}, row_hash, ANY_VALUE(cost) AS cost, ANY_VALUE(credits) AS credits,
    LOGICAL_OR(is_correction) AS is_correction,
    COUNTIF(is_old) AS was, COUNTIF(NOT is_old) AS now
  FROM rows_of_both GROUP BY {", ".join(KEYS)}, row_hash
)
GROUP BY {", ".join(KEYS)}
HAVING SUM(was) <> SUM(now) OR SUM(was * cost) <> SUM(now * cost)
  OR SUM(was * credits) <> SUM(now * credits)
ORDER BY {", ".join(KEYS)}
"""  # noqa: S608 - names of columns, written above
_AMOUNTS = f"""
SELECT {", ".join(f"COALESCE({key}, '') AS {key}" for key in KEYS)},
  cost, COALESCE(credits_total, 0) AS credits,
  COALESCE(x_adjustment_json, '') LIKE '%:"%' OR COALESCE(cost_type, '') = 'adjustment'
    AS is_correction
"""


def of_day(
    new: exp.Table, old: exp.Table, columns: Sequence[Column], replaced: exp.Expr
) -> exp.Query:
    """The keys whose rows or sums differ between `new` and the `replaced` rows of `old`."""
    both = exp.union(
        _amounts(new, columns, is_old=False),
        _amounts(old, columns, is_old=True).where(replaced),
        distinct=False,
    )
    query = parse_one(_DIFFERENCE, dialect="bigquery")
    assert isinstance(query, exp.Select)  # noqa: S101 - as it is written above
    return query.with_("rows_of_both", as_=both)


def found(rows: Iterable[Sequence[Any]]) -> tuple[Change, ...]:
    """What the answer says."""
    return tuple(map(change, rows))


def _amounts(table: exp.Table, columns: Sequence[Column], *, is_old: bool) -> exp.Select:
    query = parse_one(_AMOUNTS, dialect="bigquery")
    assert isinstance(query, exp.Select)  # noqa: S101 - as above
    query = query.select(
        exp.alias_(hash_of(columns), "row_hash"),
        exp.alias_(exp.true() if is_old else exp.false(), "is_old"),
    )
    return query.from_(table.copy())
