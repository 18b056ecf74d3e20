"""CAST and SAFE_CAST, and the types that they name."""

from collections.abc import Callable

from sqlglot import exp

from convergence.warehouse.sql import exact, text_rules, time_rules
from convergence.warehouse.sql.calls import call
from convergence.warehouse.sql.statement import refused

NUMERIC = exp.DataType.build("DECIMAL(38,9)", dialect="duckdb")
BIGNUMERIC = exp.DataType.build("DECIMAL(38,18)", dialect="duckdb")

_EXACT = {exp.DType.DECIMAL, exp.DType.BIGDECIMAL}
_TEXTS = {exp.DType.TEXT, exp.DType.VARCHAR}
INTEGERS = {exp.DType.INT, exp.DType.SMALLINT, exp.DType.TINYINT}
_WHOLE = "[+-]?([0-9]+|0[xX][0-9a-fA-F]+)"

Rule = Callable[..., exp.Expr]


def exact_type(node: exp.DataType) -> exp.Expr:
    """NUMERIC holds 9 places and BIGNUMERIC 18; all of BigQuery's integers have 64 bits."""
    if node.this == exp.DType.DECIMAL and not node.expressions:
        return NUMERIC.copy()
    if node.this in INTEGERS:
        return exp.DataType.build("BIGINT")
    if node.this != exp.DType.BIGDECIMAL:
        return node
    if not node.expressions:
        return BIGNUMERIC.copy()
    precision, scale = [int(size.name) for size in node.expressions] + [0] * (
        2 - len(node.expressions)
    )
    if scale > 18 or precision > 38:
        raise refused(
            f"BIGNUMERIC({precision}, {scale}) is not available here",
            hint="at most BIGNUMERIC(38, 18)",
        )
    return exp.DataType.build(f"DECIMAL({precision},{scale})", dialect="duckdb")


def cast_exactly(node: exp.Cast) -> exp.Expr:
    """FLOAT64 to NUMERIC takes the exact binary value; to INT64 it rounds half away from zero."""
    if node.to.this in _TEXTS and type_of(node.this) in _EXACT | {exp.DType.DOUBLE}:
        return _shortest(node)
    if type_of(node.this) in _TEXTS and node.to.this in _OF_TEXT:
        return _OF_TEXT[node.to.this](node)
    if node.to.this in _TEXTS and type_of(node.this) in _TO_TEXT:
        return _TO_TEXT[type_of(node.this)](node)
    return _cast_float(node) if _is_float(node.this) else node


def _cast_float(node: exp.Cast) -> exp.Expr:
    if node.to.this == exp.DType.BIGINT:
        node.set("this", exp.Round(this=node.this))
        return node
    if node.to.this != exp.DType.DECIMAL:
        return node
    if node.to == NUMERIC:
        number = exact.from_double(node.this)
        return call("TRY", number) if isinstance(node, exp.TryCast) else number
    text = call("PRINTF", exp.Literal.string("%.40f"), node.this)
    return exp.cast(text, node.to)


def _shortest(text: exp.Expr) -> exp.Expr:
    """A number's text without zeros at its end: 1.5, not 1.500000000."""
    trailing = exp.Literal.string(r"(\.[0-9]*?)0+$")
    shorter = call("REGEXP_REPLACE", text, trailing, exp.Literal.string(r"\1"))
    return call("RTRIM", shorter, exp.Literal.string("."))


def _whole_number(node: exp.Cast) -> exp.Expr:
    """DuckDB rounds the text of a fraction; to BigQuery it is no INT64."""
    text = call("TRIM", node.this.copy())
    is_whole = call("REGEXP_FULL_MATCH", text, exp.Literal.string(_WHOLE))
    if isinstance(node, exp.TryCast):
        return exp.Case().when(is_whole, node).else_(exp.null())
    said = call("CONCAT", exp.Literal.string("Bad INT64 value: "), node.this.copy())
    is_good = exp.or_(exp.Is(this=node.this.copy(), expression=exp.null()), is_whole)
    return exp.Case().when(is_good, node).else_(call("ERROR", said))


def _no_text(node: exp.Cast) -> exp.Expr:
    raise refused("CAST makes no text of an ARRAY or a STRUCT", at=node, hint="use TO_JSON_STRING")


def _encoded(node: exp.Cast) -> exp.Expr:
    return call("ENCODE", node.this)


def _decoded(node: exp.Cast) -> exp.Expr:
    return (
        call("TRY", call("DECODE", node.this))
        if isinstance(node, exp.TryCast)
        else call("DECODE", node.this)
    )


_OF_TEXT: dict[object, Rule] = {
    exp.DType.BIGINT: _whole_number,
    exp.DType.BOOLEAN: text_rules.truth,
    exp.DType.BINARY: _encoded,
}
_TO_TEXT: dict[object, Rule] = {
    exp.DType.ARRAY: _no_text,
    exp.DType.STRUCT: _no_text,
    exp.DType.BINARY: _decoded,
    exp.DType.TIMESTAMP: lambda node: time_rules.written(node.this, has_zone=False),
    exp.DType.TIMESTAMPTZ: lambda node: time_rules.written(node.this, has_zone=True),
}


def _is_float(node: exp.Expr) -> bool:
    """Whether DuckDB has a DOUBLE here: of literals, 1.5 is a decimal to it and 15e-1 is not."""
    literal = node.this if isinstance(node, exp.Neg) else node
    if isinstance(literal, exp.Literal):
        return literal.is_number and "e" in literal.name.lower()
    return type_of(node) == exp.DType.DOUBLE


def type_of(node: exp.Expr) -> object:
    return node.type.this if node.type is not None else exp.DType.UNKNOWN
