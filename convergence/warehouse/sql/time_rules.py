"""What BigQuery means by functions of times, where DuckDB's mean something near it."""

from sqlglot import exp

from convergence.warehouse.sql.calls import call, text
from convergence.warehouse.sql.statement import refused

_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
_FIXED = {"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY"}


def seconds(node: exp.UnixSeconds) -> exp.Expr:
    return _whole(node.this, 1_000_000, "second")


def milliseconds(node: exp.UnixMillis) -> exp.Expr:
    return _whole(node.this, 1_000, "millisecond")


def _whole(instant: exp.Expr, microseconds: int, unit: str) -> exp.Expr:
    """Rounded down, before 1970 as well."""
    cut = call("EPOCH_US", call("DATE_TRUNC", text(unit), instant))
    return exp.paren(exp.IntDiv(this=cut, expression=exp.Literal.number(microseconds)))


def moved(node: exp.TimestampAdd | exp.TimestampSub) -> exp.Expr:
    """A TIMESTAMP has no calendar: of units above DAY only DATETIME knows how long they are."""
    unit = node.args["unit"].name.upper()
    if unit not in _FIXED:
        name = "TIMESTAMP_ADD" if isinstance(node, exp.TimestampAdd) else "TIMESTAMP_SUB"
        raise refused(
            f"{name} does not know {unit}",
            at=node,
            hint="move a DATE or a DATETIME, then make a TIMESTAMP of it",
        )
    return node


def dates(node: exp.GenerateDateArray) -> exp.Expr:
    """By months each date is counted from the first: 31 January, 29 February, 31 March."""
    step = node.args.get("step")
    unit = step.text("unit").upper() if step is not None else ""
    if unit not in _MONTHS or step is None:
        return node
    written = step.this.name
    if not written.isdecimal() or not int(written):
        raise refused(
            f"GENERATE_DATE_ARRAY goes forward by a literal number of {unit}S here",
            at=node,
            hint="take ARRAY_REVERSE of the array that goes forward",
        )
    months = exp.Literal.number(int(written) * _MONTHS[unit])
    first, last = (exp.cast(node.args[name], exp.DType.DATE) for name in ("start", "end"))
    count = call("DATE_DIFF", text("month"), first, last) + 1
    number = exp.cast(exp.column("n_"), exp.DType.INT)
    day = exp.cast(first.copy() + call("TO_MONTHS", number), exp.DType.DATE)
    days = call(
        "LIST_TRANSFORM", call("RANGE", exp.Literal.number(0), count, months), _each("n_", day)
    )
    is_within = exp.LTE(this=exp.column("d_"), expression=last.copy())
    return call("LIST_FILTER", days, _each("d_", is_within))


def _each(name: str, value: exp.Expr) -> exp.Lambda:
    return exp.Lambda(this=value, expressions=[exp.to_identifier(name)])


def written(instant: exp.Expr, *, has_zone: bool) -> exp.Expr:
    """As a text: a fraction of a second has none, three or six digits."""
    zone = "+00" if has_zone else ""
    rest = call("EPOCH_US", instant.copy()) % 1_000_000
    is_whole = exp.EQ(this=rest, expression=exp.Literal.number(0))
    in_thousands = exp.EQ(this=rest.copy() % 1_000, expression=exp.Literal.number(0))
    case = exp.Case().when(is_whole, _format(instant, zone))
    return case.when(in_thousands, _format(instant, f".%g{zone}")).else_(
        _format(instant, f".%f{zone}")
    )


def _format(instant: exp.Expr, rest: str) -> exp.Expr:
    return call("STRFTIME", instant.copy(), text(f"%Y-%m-%d %H:%M:%S{rest}"))
