"""What BigQuery means and plain SQLGlot does not say in DuckDB: one function for each construct.

A rule takes a node whose operands are translated already, and gives what stands in its place (the
node itself if nothing has to change). Types are those of `infer`; UNKNOWN is never guessed.
"""

import re
from collections.abc import Callable

from sqlglot import exp

from convergence.warehouse.sql import text_rules, time_rules
from convergence.warehouse.sql.calls import call
from convergence.warehouse.sql.cast_rules import (
    BIGNUMERIC,
    INTEGERS,
    NUMERIC,
    cast_exactly,
    exact_type,
    type_of,
)
from convergence.warehouse.sql.statement import refused

_EXACT = {exp.DType.DECIMAL, exp.DType.BIGDECIMAL}
_INSTANTS = {exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ, exp.DType.DATETIME}
_DIFF_UNITS = {"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY"}
_DATE_PARTS = {
    "YEAR",
    "QUARTER",
    "MONTH",
    "DAY",
    "DAYOFYEAR",
    "ISOYEAR",
    "HOUR",
    "MINUTE",
    "SECOND",
}
_DECIMAL = re.compile(r"[0-9]*\.[0-9]*")
_INT64_END, _DIGITS = 1 << 63, 19
_FORMATS = set("YmdHMSbBaAyjpI%")
_HINT = "it has no exact form here: write it another way"


def elapsed(node: exp.TimestampDiff) -> exp.Expr:
    """TIMESTAMP_DIFF counts whole units that passed, not boundaries that were crossed."""
    unit = node.args["unit"].name.upper()
    if unit not in _DIFF_UNITS:
        raise refused(f"TIMESTAMP_DIFF in {unit} is not available here", at=node, hint=_HINT)
    return call("DATE_SUB", exp.Literal.string(unit.lower()), node.expression, node.this)


def no_zero(node: exp.Div | exp.Mod | exp.IntDiv) -> exp.Expr:
    """Division by zero is an error. NUMERIC by anything but FLOAT64 gives NUMERIC."""
    divisor = node.expression.unnest()
    if not _is_never_zero(divisor):
        zero = exp.EQ(this=exp.paren(divisor.copy()), expression=exp.Literal.number(0))
        error = call("ERROR", exp.Literal.string("division by zero"))
        node.set("expression", exp.Case().when(zero, error).else_(divisor.copy()))
    return _rounded(node)


def product(node: exp.Mul) -> exp.Expr:
    """NUMERIC * NUMERIC has 9 places; a literal with a fraction is one beside a NUMERIC."""
    both = all(_is_exact(side) or _is_fraction(side) for side in (node.this, node.expression))
    return _rounded(node) if both else node


def power(node: exp.Expr) -> exp.Expr:
    """Roots, powers and logarithms of NUMERIC are NUMERIC; DuckDB goes through a float."""
    return _rounded(node)


def rounded(node: exp.Avg | exp.SafeDivide) -> exp.Expr:
    """A quotient of NUMERIC is NUMERIC; DuckDB goes through a float, exact to 15 digits."""
    return _rounded(node)


def rounded_window(node: exp.Window) -> exp.Expr:
    """OVER belongs to the aggregate, not to the cast that was put around it."""
    cast = node.this
    if not isinstance(cast, exp.Cast):
        return node
    node.set("this", cast.this)
    return exp.cast(node, cast.to)


def counted(node: exp.CountIf) -> exp.Expr:
    """COUNTIF of no rows is 0; DuckDB's is NULL."""
    if isinstance(node.this, exp.Distinct):
        raise refused("COUNTIF(DISTINCT …) is not available here", at=node, hint=_HINT)
    one = exp.Case().when(node.this.copy(), exp.Literal.number(1))
    return exp.Count(this=one, big_int=True)


def day_count(node: exp.Sub) -> exp.Expr:
    if type_of(node.this) == exp.DType.DATE == type_of(node.expression):
        raise refused("DATE - DATE is an INTERVAL", at=node, hint="use DATE_DIFF(a, b, DAY)")
    return node


def date_only(node: exp.DateAdd | exp.DateSub | exp.DateTrunc | exp.DateFromUnixDate) -> exp.Expr:
    """DuckDB makes a timestamp of a date that is moved or cut."""
    of_instant = node.this is not None and type_of(node.this) in _INSTANTS
    return node if of_instant else exp.cast(node, exp.DType.DATE)


def zoned(node: exp.Expr) -> exp.Expr:
    """What DuckDB makes of numbers and texts has no zone; TIMESTAMP is in UTC."""
    return exp.cast(node, exp.DType.TIMESTAMPTZ)


def from_first(node: exp.Substring) -> exp.Expr:
    """Position 0, and one that lies before the text, is position 1 to BigQuery."""
    start = node.args.get("start")
    if start is None or (isinstance(start, exp.Literal) and start.name != "0"):
        return node
    length = call("LENGTH", node.this.copy())
    is_before = exp.LTE(this=start.copy(), expression=exp.Neg(this=length))
    is_zero = exp.EQ(this=start.copy(), expression=exp.Literal.number(0))
    first = exp.Literal.number(1)
    node.set("start", exp.Case().when(exp.or_(is_zero, is_before), first).else_(start.copy()))
    return node


def padded(node: exp.Pad) -> exp.Expr:
    """DuckDB pads to an INTEGER of 32 bits only."""
    node.set("expression", exp.cast(node.expression, exp.DType.INT))
    return node


def rounded_float(node: exp.Round | exp.Trunc) -> exp.Expr:
    """Of an INT64, BigQuery makes a FLOAT64."""
    if type_of(node.this) in INTEGERS | {exp.DType.BIGINT}:
        node.set("this", exp.cast(node.this, exp.DType.DOUBLE))
    return node


def json_text(node: exp.JSONFormat) -> exp.Expr:
    """NULL is the text null; an array is never NULL in BigQuery, and stays as it is."""
    if type_of(node.this) == exp.DType.ARRAY:
        return node
    return exp.Coalesce(this=node, expressions=[exp.Literal.string("null")])


def kept_left(node: exp.Join) -> exp.Expr:
    """LEFT JOIN UNNEST without ON keeps the rows whose array is empty."""
    has_condition = node.args.get("on") is not None or node.args.get("using")
    if node.side and not has_condition and node.kind != "CROSS":
        node.set("on", exp.true())
    return node


def part_of_time(node: exp.Extract) -> exp.Expr:
    """EXTRACT counts days of the week from 1; sessions are in UTC, so a zone needs no care."""
    part, of = node.name.upper(), node.expression
    if part == "DATE":
        return exp.cast(of, exp.DType.DATE)
    if part == "DAYOFWEEK":
        return exp.paren(_date_part("dow", of) + 1)
    if part == "WEEK":
        return exp.cast(call("STRFTIME", of, exp.Literal.string("%U")), exp.DType.BIGINT)
    if part not in _DATE_PARTS:
        part = node.this.sql("bigquery")
        raise refused(f"EXTRACT({part} ..) is not available here", at=node, hint=_HINT)
    return _date_part(part.lower(), of)


def escaped_like(node: exp.Like) -> exp.Expr:
    """A backslash in BigQuery's LIKE makes the next character plain."""
    pattern = node.expression
    if isinstance(node.parent, exp.Escape) or (
        isinstance(pattern, exp.Literal) and "\\" not in pattern.name
    ):
        return node
    return exp.Escape(this=node, expression=exp.Literal.string("\\"))


def parsed_instant(node: exp.StrToTime) -> exp.Expr:
    if node.args.get("zone") is not None:
        raise refused(
            "PARSE_TIMESTAMP with a zone is not available here",
            at=node,
            hint="parse it with PARSE_DATETIME, then TIMESTAMP(datetime, zone)",
        )
    return zoned(known_format(node))


def known_format(node: exp.Expr) -> exp.Expr:
    """Dates are formatted and parsed with specifiers that both engines read alike."""
    pattern = node.args.get("format")
    if not isinstance(pattern, exp.Literal):
        raise refused("a format must be a literal text", at=node, hint=_HINT)
    for specifier in re.findall(r"%(-?.?)", pattern.name):
        if specifier not in _FORMATS:
            raise refused(f"the format %{specifier} is not available here", at=node, hint=_HINT)
    zone = node.args.get("zone")
    if zone is not None and isinstance(node, exp.TimeToStr):
        instant = node.this.this
        instant.replace(exp.AtTimeZone(this=instant.copy(), zone=zone.copy()))
        node.set("zone", None)
    return node


def unlimited(node: exp.ArrayAgg) -> exp.Expr:
    if node.find(exp.Limit) is not None:
        raise refused("ARRAY_AGG(.. LIMIT n) is not available here", at=node, hint=_HINT)
    return node


Rule = Callable[..., exp.Expr]
RULES: dict[type[exp.Expr], Rule] = {
    exp.DataType: exact_type,
    exp.TimestampDiff: elapsed,
    exp.Div: no_zero,
    exp.Mod: no_zero,
    exp.IntDiv: no_zero,
    exp.Mul: product,
    exp.Sub: day_count,
    exp.Avg: rounded,
    exp.CountIf: counted,
    exp.SafeDivide: rounded,
    exp.Window: rounded_window,
    exp.DateAdd: date_only,
    exp.DateSub: date_only,
    exp.DateTrunc: date_only,
    exp.DateFromUnixDate: date_only,
    exp.UnixToTime: zoned,
    exp.Substring: from_first,
    exp.Pad: padded,
    exp.Round: rounded_float,
    exp.Trunc: rounded_float,
    exp.JSONFormat: json_text,
    exp.Join: kept_left,
    exp.Cast: cast_exactly,
    exp.TryCast: cast_exactly,
    exp.Extract: part_of_time,
    exp.Like: escaped_like,
    exp.TimeToStr: known_format,
    exp.StrToDate: known_format,
    exp.StrToTime: parsed_instant,
    exp.ParseDatetime: known_format,
    exp.ArrayAgg: unlimited,
    **dict.fromkeys((exp.Sqrt, exp.Pow, exp.Exp, exp.Ln, exp.Log), power),
    exp.UnixSeconds: time_rules.seconds,
    exp.UnixMillis: time_rules.milliseconds,
    exp.TimestampAdd: time_rules.moved,
    exp.TimestampSub: time_rules.moved,
    exp.GenerateDateArray: time_rules.dates,
    exp.Trim: text_rules.trimmed,
    exp.Unicode: text_rules.code_of,
    exp.Ascii: text_rules.ascii_code,
    exp.StrPosition: text_rules.found_at,
    exp.BitwiseRightShift: text_rules.shifted,
    exp.BitwiseCount: text_rules.all_bits,
}


def apply_rules(tree: exp.Query) -> None:
    """Run every rule over the tree, operands before what holds them."""
    for literal in list(tree.find_all(exp.Literal)):
        _check_integer(literal)
        _keep_float(literal)
    for node in reversed(list(tree.walk(bfs=False))):
        rule = RULES.get(type(node))
        if rule is None:
            continue
        place = exp.Placeholder()
        node.replace(place)
        new = rule(node)
        if new is not node and not isinstance(node, exp.DataType):
            new.type = node.type
        place.replace(new)


def _check_integer(literal: exp.Literal) -> None:
    """A whole number that no INT64 holds is an error to BigQuery; DuckDB has wider integers."""
    if literal.is_string or len(literal.name) < _DIGITS or not literal.name.isdecimal():
        return
    if int(literal.name) >= _INT64_END + isinstance(literal.parent, exp.Neg):
        raise refused(
            f"the integer {literal.name[:60]} does not fit INT64",
            at=literal,
            code="sql_syntax",
            hint=f"write NUMERIC '{literal.name[:60]}'",
        )


def _keep_float(literal: exp.Literal) -> None:
    """1.5 is FLOAT64 where it makes its surroundings so; DuckDB takes it for a decimal."""
    around = literal.parent
    while isinstance(around, exp.Neg | exp.Paren):
        around = around.parent
    if literal.is_string or not _DECIMAL.fullmatch(literal.name) or isinstance(around, exp.Cast):
        return
    if around is not None and (_is_plain(around) or type_of(around) == exp.DType.DOUBLE):
        literal.replace(exp.Literal.number(f"{literal.name}e0"))


def _is_plain(around: exp.Expr) -> bool:
    """Whether nothing there makes a NUMERIC of a literal."""
    if isinstance(around, exp.Select | exp.Alias):
        return True
    return isinstance(around, exp.Func) and not any(map(_is_exact, around.iter_expressions()))


def _rounded(node: exp.Expr) -> exp.Expr:
    kind = type_of(node)
    if kind not in _EXACT:
        return node
    return exp.cast(node, NUMERIC if kind == exp.DType.DECIMAL else BIGNUMERIC)


def _is_fraction(node: exp.Expr) -> bool:
    literal = node.unnest()
    literal = literal.this if isinstance(literal, exp.Neg) else literal
    return (
        isinstance(literal, exp.Literal)
        and bool(_DECIMAL.fullmatch(literal.name))
        and not literal.is_string
    )


def _is_never_zero(divisor: exp.Expr) -> bool:
    if isinstance(divisor, exp.Literal):
        return divisor.is_number and float(divisor.name) != 0
    return isinstance(divisor, exp.Nullif) and divisor.expression.name == "0"


def _date_part(part: str, of: exp.Expr) -> exp.Expr:
    return call("DATE_PART", exp.Literal.string(part), of)


def _is_exact(node: exp.Expr) -> bool:
    return type_of(node) in _EXACT
