"""How much one call of a function may make: DuckDB's memory limit does not count a single value.

A call whose size is known and small stays as it is; another is checked where it runs.
"""

from collections.abc import Callable

from sqlglot import exp

from convergence.warehouse.sql.statement import refused

MAX_CHARACTERS = 10_000
MAX_REPLACED = 1_000_000
MAX_ELEMENTS = 10_000
MAX_COMPARED = 1_000
MAX_QUANTILES = 1_000


def repeated(node: exp.Repeat) -> exp.Expr:
    size = exp.Mul(this=_length(node.this), expression=node.args["times"].copy())
    return _bounded(node, "times", size, MAX_CHARACTERS, "REPEAT makes more characters than")


def padded(node: exp.Pad) -> exp.Expr:
    size = node.expression.copy()
    return _bounded(node, "expression", size, MAX_CHARACTERS, "padding makes a text longer than")


def replaced(node: exp.Replace | exp.RegexpReplace) -> exp.Expr:
    replacement = node.args.get("replacement")
    if replacement is None or (replacement.is_string and len(replacement.name) < 2):
        return node
    grown = exp.Mul(this=_length(node.this), expression=_length(replacement))
    what = "replacing may make more characters than"
    return _bounded(node, "replacement", grown, MAX_REPLACED, what)


def compared(node: exp.Levenshtein) -> exp.Expr:
    longer = _call("GREATEST", _length(node.this), _length(node.expression))
    what = "EDIT_DISTANCE takes texts up to a length of"
    return _bounded(node, "expression", longer, MAX_COMPARED, what)


def listed(node: exp.GenerateSeries) -> exp.Expr:
    start, end = (_double(node.args[name]) for name in ("start", "end"))
    step = _call("NULLIF", _double(node.args.get("step") or exp.Literal.number(1)), _number(0))
    size = exp.Div(this=exp.paren(exp.Sub(this=end, expression=start)), expression=step)
    return _bounded(node, "end", size, MAX_ELEMENTS, "GENERATE_ARRAY makes more elements than")


def listed_days(node: exp.GenerateDateArray) -> exp.Expr:
    start, end = (exp.cast(node.args[name].copy(), exp.DType.DATE) for name in ("start", "end"))
    days = _call("ABS", _call("DATE_DIFF", exp.Literal.string("day"), start, end))
    _bounded(node, "end", days, MAX_ELEMENTS, "GENERATE_DATE_ARRAY spans more days than")
    node.set("end", exp.cast(node.args["end"], exp.DType.DATE))
    return node


def quantiles(node: exp.ApproxQuantiles) -> exp.Expr:
    """Each quantile becomes a word of the statement."""
    number = node.expression
    if not (isinstance(number, exp.Literal) and number.name.isdecimal()):
        raise refused("APPROX_QUANTILES takes a literal number of quantiles", at=node)
    if len(number.name) > 4 or int(number.name) > MAX_QUANTILES:
        raise refused(f"APPROX_QUANTILES gives at most {MAX_QUANTILES:,} quantiles", at=node)
    return node


BOUNDS: dict[type[exp.Expr], Callable[..., exp.Expr]] = {
    exp.Repeat: repeated,
    exp.Pad: padded,
    exp.Replace: replaced,
    exp.RegexpReplace: replaced,
    exp.Levenshtein: compared,
    exp.GenerateSeries: listed,
    exp.GenerateDateArray: listed_days,
    exp.ApproxQuantiles: quantiles,
}


def _bounded(node: exp.Expr, argument: str, size: exp.Expr, most: int, what: str) -> exp.Expr:
    """The call with an argument that is an error where `size` is above `most`.

    Around the call the check would come too late: constants are worked out before it.
    """
    error = _call("ERROR", exp.Literal.string(f"{what} {most:,}"))
    is_more = exp.GT(this=size, expression=_number(most))
    node.set(argument, exp.Case().when(is_more, error).else_(node.args[argument].copy()))
    return node


def _length(text: exp.Expr) -> exp.Expr:
    return _call("LENGTH", text.copy())


def _double(number: exp.Expr) -> exp.Expr:
    return exp.cast(number.copy(), exp.DType.DOUBLE)


def _number(number: int) -> exp.Expr:
    return exp.Literal.number(number)


def _call(function: str, *arguments: exp.Expr) -> exp.Anonymous:
    return exp.Anonymous(this=function, expressions=list(arguments))
