"""Which loads the rows of a cost come from, as BigQuery SQL."""

from collections.abc import Sequence
from datetime import date

from sqlglot import exp

from convergence.model.cost import CostQuery
from convergence.warehouse.sql import cost_queries

_ACCOUNT = "billing_account_id"
_KEYS = ("ingestion_date", "x_source", "x_run_id", "currency")


def by_load(question: CostQuery, *, project: str, dataset: str) -> exp.Select:
    """Day, source, run and currency of the question's rows; then rows, cost and credits."""
    table = cost_queries.smallest(question, _KEYS)
    lines = cost_queries.lines(question, project=project, dataset=dataset, table=table)
    keys = [exp.column(name, quoted=True) for name in _KEYS]
    sums = [
        exp.alias_(exp.func("SUM", exp.column(name, quoted=True)), name)
        for name in ("cost", "credits_total")
    ]
    count = exp.alias_(cost_queries.count_of(table), "row_count")
    query = exp.select(*keys, count, *sums).from_(lines.subquery("line"))
    return query.group_by(*(key.copy() for key in keys))


def accounts(table: str, days: Sequence[date], *, project: str, dataset: str) -> exp.Select:
    """Which accounts the sources have rows of: day, source, account, each once."""
    keys = [exp.column(name, quoted=True) for name in ("ingestion_date", "x_source", _ACCOUNT)]
    literals = [exp.cast(exp.Literal.string(day.isoformat()), exp.DType.DATE) for day in days]
    place = exp.table_(table, db=dataset, catalog=project, quoted=True)
    within = exp.In(this=keys[0].copy(), expressions=literals)
    return exp.select(*keys).distinct().from_(place).where(within)
