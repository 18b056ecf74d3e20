"""How much of the engine a statement may take: told before anything is run, from its tree."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlglot import exp

from convergence.warehouse.sql.statement import refused

Weight = Callable[[exp.Expr], int]

_CHAINED = (exp.Concat, exp.DPipe)
_NO_COPY = (exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Connector, exp.Predicate)
_SMALL = {*exp.DataType.NUMERIC_TYPES, *exp.DataType.TEMPORAL_TYPES, exp.DType.BOOLEAN}
_PIECES = (exp.Split, exp.RegexpExtractAll)
_PER_CHARACTER = 16
"""What a list takes for each character that it is split into."""

MAX_SIZE = 200_000
MAX_READS = 250
MAX_JOINS = 100
"""Of a whole statement: at these numbers the engine plans for less than a second or two."""
_COPIES: dict[type[exp.Expr], int] = {
    **dict.fromkeys((exp.Div, exp.Mod, exp.IntDiv, exp.SafeDivide, exp.Greatest, exp.Least), 2),
    **dict.fromkeys((exp.Left, exp.Right, exp.Corr, exp.ParseJSON), 2),
    **dict.fromkeys((exp.Repeat, exp.Pad, exp.Replace, exp.RegexpReplace), 2),
    **dict.fromkeys((exp.GenerateSeries, exp.ArrayConcat), 2),
    **dict.fromkeys((exp.Concat, exp.DPipe, exp.LowerHex, exp.Hex), 2),
    **dict.fromkeys((exp.JSONFormat, exp.ArrayToString, exp.GroupConcat), 3),
    exp.Substring: 4,
    exp.GenerateDateArray: 8,
    exp.Levenshtein: 6,
    **dict.fromkeys((exp.Ascii, exp.Unicode), 4),
    **dict.fromkeys((exp.Length, exp.Ceil, exp.Floor, exp.StrPosition), 3),
    **dict.fromkeys((exp.RegexpInstr, exp.Cast, exp.TryCast), 6),
}
"""How often the translation of a construct holds its operand; measured for every function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """How many calls of a statement make a new text, and how many a new list."""

    texts: int
    lists: int


def check_size(tree: exp.Query) -> None:
    """Some constructs write an operand several times: nested, they would fill the memory."""
    size = 0
    stack: list[tuple[exp.Expr, int]] = [(tree, 1)]
    while stack:
        node, times = stack.pop()
        size += times
        if size > MAX_SIZE:
            raise refused("the statement is too complicated", hint="name the parts with WITH")
        times *= 1 if is_inner_text(node) else _COPIES.get(type(node), 1)
        stack.extend((child, times) for child in node.iter_expressions())


def is_inner_text(node: exp.Expr) -> bool:
    """Whether it is a part of a longer chain of CONCAT and ||, which is one text."""
    around = node.parent
    while isinstance(around, exp.Paren):
        around = around.parent
    return isinstance(node, _CHAINED) and isinstance(around, _CHAINED)


def check_reads(tree: exp.Query) -> None:
    """A part of WITH is planned wherever it is named: a few lines could name tables by millions.

    The engine's planner heeds neither its limit of memory nor an interruption.
    """
    parts = _parts(tree)
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


def values_made(tree: exp.Query) -> Made:
    """Parts of WITH count as often as they are named."""
    parts = _parts(tree)
    return Made(texts=_total(tree, parts, {}, _texts), lists=_total(tree, parts, {}, _lists))


def _parts(tree: exp.Query) -> dict[str, exp.Expr]:
    return {cte.alias: cte.this for cte in tree.find_all(exp.CTE)}


def _texts(node: exp.Expr) -> int:
    if isinstance(node, exp.Array | exp.Struct):
        return sum(not isinstance(value, exp.Literal) for value in node.expressions)
    if isinstance(node, _PIECES):
        return _PER_CHARACTER
    if isinstance(node, exp.AggFunc):
        return int(isinstance(node, exp.GroupConcat | exp.ArrayAgg))
    is_small = node.type is not None and node.type.this in _SMALL
    return int(_is_call(node) and not is_small and not is_inner_text(node))


def _lists(node: exp.Expr) -> int:
    return int(_is_call(node) and node.is_type(exp.DType.ARRAY))


def _is_call(node: exp.Expr) -> bool:
    return isinstance(node, exp.Func | exp.DPipe) and not isinstance(node, _NO_COPY)


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
    for found in node.walk():
        name = found.name if isinstance(found, exp.Table) else ""
        if name in parts and name not in known:
            known[name] = weight(found)
            known[name] = _total(parts[name], parts, known, weight)
        total += known.get(name, weight(found))
    return total
