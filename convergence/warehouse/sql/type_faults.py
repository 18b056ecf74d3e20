"""What has no meaning in BigQuery because its types differ, though DuckDB finds one.

Only types that are certain count: of stored columns, of literals and of casts.
"""

from collections.abc import Callable, Iterable
from itertools import combinations

from sqlglot import exp

from convergence.warehouse.sql.statement import refused

_NUMBER, _TEXT, _TRUTH = "a number", "a text", "a truth value"
Pairs = Iterable[tuple[exp.Expr, exp.Expr]]
_KINDS = {
    **dict.fromkeys(exp.DataType.NUMERIC_TYPES, _NUMBER),
    **dict.fromkeys(exp.DataType.TEXT_TYPES, _TEXT),
    exp.DType.BOOLEAN: _TRUTH,
    exp.DType.DATE: "a DATE",
    exp.DType.TIMESTAMP: "a DATETIME",
    exp.DType.TIMESTAMPTZ: "a TIMESTAMP",
    exp.DType.BINARY: "bytes",
}
_TIMES = {"a DATE", "a DATETIME"}
"""A DATE beside a DATETIME becomes one."""


def check_types(tree: exp.Query) -> None:
    """Raise Invalid, with its place, for the first pair that BigQuery has no meaning for."""
    for node in tree.walk():
        pairs = _PAIRS[type(node)](node) if type(node) in _PAIRS else ()
        for left, right in pairs:
            if not _are_alike(left, right):
                raise refused(
                    f"{kind_of(left)} stands beside {kind_of(right)}, which BigQuery does not take",
                    at=node,
                    code="sql_failed",
                    hint="CAST one of them",
                )
        _check_aggregate(node)


def _are_alike(left: exp.Expr, right: exp.Expr) -> bool:
    kinds = {kind_of(left), kind_of(right)}
    is_certain = "" not in kinds and len(kinds) > 1 and kinds != _TIMES
    return not is_certain or _is_coerced(left, right) or _is_coerced(right, left)


def kind_of(node: exp.Expr) -> str:
    """Empty where it is not certain."""
    inner = node.unnest().unalias()
    if isinstance(inner, exp.Neg):
        return kind_of(inner.this)
    is_known = isinstance(inner, exp.Literal | exp.Cast | exp.Boolean) or (
        isinstance(inner, exp.Column) and bool(inner.meta_get("stored"))
    )
    if not is_known or inner.type is None:
        return ""
    return _KINDS.get(inner.type.this, "") if isinstance(inner.type.this, exp.DType) else ""


def _both(node: exp.Expr) -> Pairs:
    return [(node.args["this"], node.args["expression"])]


def _of_texts(node: exp.Expr) -> Pairs:
    """Times and numbers are added in ways of their own; a text is added to nothing."""
    return [pair for pair in _both(node) if _TEXT in map(kind_of, pair)]


def _listed(node: exp.Expr) -> Pairs:
    return [(node.this, value) for value in node.expressions]


def _ends(node: exp.Expr) -> Pairs:
    return [(node.this, node.args["low"]), (node.this, node.args["high"])]


def _alternatives(node: exp.Expr) -> Pairs:
    return combinations([node.this, *node.expressions], 2)


def _branches(node: exp.Expr) -> Pairs:
    values = [branch.args["true"] for branch in node.args["ifs"]]
    return combinations([*values, *filter(None, [node.args.get("default")])], 2)


def _choices(node: exp.Expr) -> Pairs:
    other = node.args.get("false")
    return [] if other is None else [(node.args["true"], other)]


def _columns(node: exp.Expr) -> Pairs:
    sides = [side for side in (node.this, node.expression) if isinstance(side, exp.Query)]
    return zip(*(side.selects for side in sides), strict=False) if len(sides) == 2 else []


_PAIRS: dict[type[exp.Expr], Callable[[exp.Expr], Pairs]] = {
    **dict.fromkeys((exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.DPipe), _both),
    **dict.fromkeys((exp.Add, exp.Sub, exp.Mul, exp.Div), _of_texts),
    **dict.fromkeys((exp.Union, exp.Intersect, exp.Except), _columns),
    exp.In: _listed,
    exp.Between: _ends,
    exp.Coalesce: _alternatives,
    exp.Case: _branches,
    exp.If: _choices,
}


def _is_coerced(literal: exp.Expr, other: exp.Expr) -> bool:
    """The text of a time or of bytes is one where its neighbour is."""
    inner = literal.unnest().unalias()
    return inner.is_string and kind_of(other) not in {_NUMBER, _TRUTH}


def _check_aggregate(node: exp.Expr) -> None:
    of = node.this
    if isinstance(node, exp.Count) and isinstance(of, exp.Distinct) and len(of.expressions) > 1:
        raise refused(
            "COUNT(DISTINCT …) counts one expression",
            at=node,
            hint="count TO_JSON_STRING(STRUCT(a, b))",
        )
    if isinstance(node, exp.Sum | exp.Avg) and kind_of(of) == _TRUTH:
        raise refused("a truth value has no sum", at=node, hint="use COUNTIF")
    if isinstance(node, exp.Sum | exp.Avg) and kind_of(of) == _TEXT:
        raise refused("a text has no sum", at=node, hint="CAST it to NUMERIC")
    is_if = isinstance(node, exp.If) and not isinstance(node.parent, exp.Case)
    if is_if and kind_of(of) not in {"", _TRUTH}:
        raise refused("IF takes a condition", at=node, hint="write IF(x != 0, …)")
