"""What a request to load asks of a table, whatever its warehouse."""

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime

from sqlglot import exp

from convergence.errors import StepFailed
from convergence.model.table import Column
from convergence.warehouse.question import Value
from convergence.warehouse.sql import fill
from convergence.warehouse.staged import StageRequest, WriteMode

ROWS = "rows_of_query"
"""What the query's rows are called."""
STAMPS = frozenset({"x_run_id", "x_source", "x_ingested_at"})
_TYPES = ((bool, "BOOL"), (int, "INT64"), (datetime, "TIMESTAMP"), (date, "DATE"))


def is_billing(request: StageRequest) -> bool:
    return request.schema is not None and request.schema.is_billing


def is_billing_day(request: StageRequest) -> bool:
    """Whether the load is one day of an export: then no other day of it need be read."""
    return is_billing(request) and request.mode is WriteMode.REPLACE_PARTITION


def check_known(request: StageRequest, given: Iterable[str], columns: Sequence[Column]) -> None:
    """Raises StepFailed for columns of the query that the table lacks."""
    names = [column.name for column in columns]
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise StepFailed(
            f"the query gives {', '.join(unknown)}, which {request.table} does not have",
            code="unknown_column",
            hint="rename them to columns of the table: " + ", ".join(names),
        )


def is_stamped(request: StageRequest, name: str) -> bool:
    """Whether the stamp stands before what the query says: lineage, and the day of a bill."""
    always = STAMPS | ({request.partition_by} if is_billing(request) else set())
    return name in always and name in request.stamps


def stamp_columns(request: StageRequest, given: Collection[str]) -> list[Column]:
    """Those that the query does not give."""
    return [
        Column(name=name, type=_type(value))
        for name, value in request.stamps.items()
        if name not in given
    ]


def partition(request: StageRequest, columns: Sequence[Column]) -> Column:
    """What tells days apart. Raises StepFailed."""
    column = next((c for c in columns if c.name == request.partition_by), None)
    if column is None:
        raise StepFailed(
            f"{request.table} has no column {request.partition_by} to tell days apart",
            code="unknown_column",
            hint="give destination.partition_by a DATE or TIMESTAMP column of the table",
        )
    return column


def equals(name: str, value: Value) -> exp.Expr:
    return exp.column(name, quoted=True).eq(literal(value))


def literal(value: Value) -> exp.Expr:
    return fill.literal(value, exp.null())


def _type(value: Value) -> str:
    # A moment is a day as well, and a truth a number: the narrower comes first.
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "STRING")
