"""Which loads the rows of a cost come from, as BigQuery SQL."""

from sqlglot import exp

from convergence.model.cost import CostQuery
from convergence.warehouse.sql import cost_queries

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
