"""Where an answer may differ from BigQuery's a little: told to who asks for an explanation."""

from collections.abc import Callable, Iterator

from sqlglot import exp

from convergence.model.table import Column
from convergence.warehouse.sql.infer import annotate
from convergence.warehouse.sql.names import Resolved, TableRef
from convergence.warehouse.sql.statement import where

_ESTIMATES = (exp.ApproxDistinct, exp.ApproxQuantiles)
_EXACT = {exp.DType.DECIMAL, exp.DType.BIGDECIMAL}
_WRITTEN_OTHERWISE = {*_EXACT, exp.DType.TIMESTAMPTZ, exp.DType.STRUCT, exp.DType.ARRAY}


def notes(
    resolved: Resolved, *, columns: Callable[[TableRef], tuple[Column, ...]]
) -> tuple[str, ...]:
    """Sentences, each with its place in the statement; none for most statements."""
    tree = resolved.tree.copy()
    known = {ref: () if ref.view else columns(ref) for ref in resolved.refs}
    annotate(resolved, tree, known)
    found = ((where(node), note) for node in tree.walk() for note in _of(node))
    return tuple(dict.fromkeys(f"{at}: {note}" if at else note for at, note in found))


def _of(node: exp.Expr) -> Iterator[str]:
    if isinstance(node, _ESTIMATES):
        yield f"{node.meta_get('bigquery_name') or 'APPROX'} estimates, and by another method"
    if isinstance(node, exp.Div | exp.Avg | exp.SafeDivide) and _type(node) in _EXACT:
        yield "a quotient of NUMERIC is exact to 15 digits"
    if isinstance(node, exp.JSONFormat) and _type(node.this) in _WRITTEN_OTHERWISE:
        yield "TO_JSON_STRING may write decimals and times in another form"
    if isinstance(node, exp.ArrayAgg) and not isinstance(node.parent, exp.IgnoreNulls):
        yield "ARRAY_AGG keeps NULL, which is an error in BigQuery: add IGNORE NULLS"
    if isinstance(node, exp.Bracket) and not node.args.get("safe"):
        yield "an element outside of an array is NULL, an error in BigQuery"


def _type(node: exp.Expr) -> object:
    return node.type.this if node.type is not None else exp.DType.UNKNOWN
