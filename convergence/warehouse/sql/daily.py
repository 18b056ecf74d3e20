"""Queries that are the same for each day: one query gives the rows of many of them."""

from collections.abc import Iterable, Iterator
from datetime import date

from sqlglot import exp

from convergence.errors import StepFailed
from convergence.warehouse.staged import StageRequest

USAGE = "usage_start_time"


def not_together(request: StageRequest, why: str) -> StepFailed:
    return StepFailed(
        f"{request.table}: its days cannot be staged together: {why}",
        code="not_together",
        hint="stage each by itself",
    )


def of_all_days(queries: Iterable[tuple[exp.Query, date]]) -> exp.Select | None:
    """What the queries share when they differ in `DATE(usage_start_time) = day` alone, each row of
    theirs comes from one of the source, and tells its usage time. None for others.
    """
    shared = [_without_day(query, day) for query, day in queries]
    first = shared[0]
    if first is None or any(each != first for each in shared[1:]):
        return None
    return first


def _without_day(query: exp.Query, day: date) -> exp.Select | None:
    where = query.args.get("where")
    if where is None or not isinstance(query, exp.Select) or not _is_row_by_row(query):
        return None
    conditions = list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]
    others = [each for each in conditions if not _is_of(each, day)]
    if len(others) != len(conditions) - 1:
        return None
    shared = query.copy()
    shared.set("where", None)
    return shared.where(*others, copy=False)


def _is_row_by_row(query: exp.Select) -> bool:
    clauses = {name for name, value in query.args.items() if value}
    if clauses != {"expressions", "from_", "where"} or len(list(query.find_all(exp.Table))) != 1:
        return False
    if any(each.find_ancestor(exp.Query) is query for each in _of_many_rows(query)):
        return False
    return any(isinstance(each, exp.Column) and each.name == USAGE for each in query.expressions)


def _of_many_rows(query: exp.Select) -> Iterator[exp.Expr]:
    return query.find_all(exp.AggFunc, exp.Window, exp.UDTF)


def _is_of(condition: exp.Expr, day: date) -> bool:
    """Whether it is `DATE(usage_start_time) = day`, the day as text or as a date."""
    moment = exp.Date(this=exp.column(USAGE))
    text = exp.Literal.string(day.isoformat())
    return condition in (
        exp.EQ(this=moment, expression=text),
        exp.EQ(this=moment.copy(), expression=exp.cast(text.copy(), exp.DType.DATE)),
    )
