"""How much one call of a function may make: DuckDB's memory limit does not count a single value.

The engine works on 2,048 rows at once and keeps what each call made of them, so the calls of a
statement share what a row may take. A call whose size is known and small stays as it is; another
is checked where it runs, before it makes anything.
"""

from collections.abc import Callable

from sqlglot import exp

from convergence.warehouse.sql.calls import call
from convergence.warehouse.sql.limits import Made, is_inner_text
from convergence.warehouse.sql.statement import refused, where

MAX_CHARACTERS = 100_000
MAX_ELEMENTS = 20_000
"""Of a row, for all calls of a statement together."""
MAX_REPEATED = 10_000
MAX_LISTED = 10_000
MAX_CONSTANT = 1_000_000
MAX_COMPARED = 1_000
MAX_QUANTILES = 1_000
_SMALL = 64
"""Characters of a number, a time or a truth value."""
_GATHERED = 4
"""How much longer a text of many rows may be: few rows are made of them."""
_SIZED = {exp.DType.TEXT, exp.DType.VARCHAR, exp.DType.BINARY, exp.DType.ARRAY, exp.DType.UNKNOWN}
_AROUND = (exp.Window, exp.IgnoreNulls, exp.RespectNulls, exp.WithinGroup, exp.Filter)

Bound = Callable[..., None]


def bound_values(tree: exp.Query, made: Made) -> None:
    """Put the checks into a tree of BigQuery's SQL whose types are known. Raises Invalid."""
    for node in reversed(list(tree.walk(bfs=False))):
        bound = _BOUNDS.get(type(node))
        if bound is not None:
            bound(node, made)


def _texts(made: Made) -> int:
    return MAX_CHARACTERS // max(made.texts, 1)


def _lists(made: Made, *, is_constant: bool = False) -> int:
    most = MAX_CONSTANT if is_constant else MAX_ELEMENTS
    return min(MAX_LISTED, most // max(made.lists, 1))


def _repeated(node: exp.Repeat, made: Made) -> None:
    size = exp.Mul(this=_length(node.this), expression=node.args["times"].copy())
    _check(node, "times", size, min(MAX_REPEATED, _texts(made)), "REPEAT makes more characters")


def _padded(node: exp.Pad, made: Made) -> None:
    size = node.expression.copy()
    _check(node, "expression", size, min(MAX_REPEATED, _texts(made)), "padding makes a longer text")


def _replaced(node: exp.Replace | exp.RegexpReplace, made: Made) -> None:
    replacement = node.args.get("replacement")
    if replacement is None or (replacement.is_string and len(replacement.name) < 2):
        return
    grown = exp.Mul(this=_length(node.this), expression=_length(replacement))
    _check(node, "replacement", grown, _texts(made), "replacing may make more characters")


def _joined(node: exp.Concat | exp.DPipe, made: Made) -> None:
    """A chain of them is one text: its parts are checked together."""
    if is_inner_text(node):
        return
    parts = _parts(node)
    unknown = [part for part in parts if _size(part) is None]
    if not unknown:
        return
    size: exp.Expr = _number(sum(_size(part) or 0 for part in parts))
    for part in unknown:
        size = exp.Add(this=size, expression=_length(part))
    first: exp.Expr = node
    while isinstance(first.this, exp.DPipe):
        first = first.this
    if node.is_type(exp.DType.ARRAY):
        _check(first, "this", size, _lists(made), "joining makes more elements")
    elif isinstance(first, exp.DPipe):
        _check(first, "this", size, _texts(made), "joining makes more characters")
    else:
        head, *tail = first.expressions
        said = _said(node, "CONCAT makes more characters", _texts(made))
        first.set("expressions", [_checked(head, size, _texts(made), said), *tail])


def _parts(node: exp.Expr) -> list[exp.Expr]:
    node = node.unnest()
    if isinstance(node, exp.DPipe):
        return [*_parts(node.left), *_parts(node.right)]
    if isinstance(node, exp.Concat):
        return [part for each in node.expressions for part in _parts(each)]
    return [node]


def _size(part: exp.Expr) -> int | None:
    """None for what only the row tells."""
    if isinstance(part, exp.Literal):
        return len(part.name)
    of = part.this if isinstance(part, exp.Cast) else part
    kind = of.type.this if of.type is not None else exp.DType.UNKNOWN
    return None if kind in _SIZED or isinstance(part, exp.JSONFormat) else _SMALL


def _concatenated(node: exp.ArrayConcat, made: Made) -> None:
    size: exp.Expr = _length(node.this)
    for each in node.expressions:
        size = exp.Add(this=size, expression=_length(each))
    _check(node, "this", size, _lists(made), "ARRAY_CONCAT makes more elements")


def _doubled(node: exp.Expr, made: Made) -> None:
    size = exp.Mul(this=call("OCTET_LENGTH", node.this.copy()), expression=_number(2))
    _check(node, "this", size, _texts(made), "TO_HEX makes more characters")


def _written(node: exp.JSONFormat, made: Made) -> None:
    """What a table holds is written as it is; each further writing may double what was made."""
    if _is_stored(node.this) or (_size(node.this) is not None and not _is_nested(node.this)):
        return
    _check_after(node, _texts(made) * _GATHERED, "TO_JSON_STRING makes more characters")


def _is_nested(node: exp.Expr) -> bool:
    return node.is_type(exp.DType.STRUCT, exp.DType.JSON)


def _is_stored(node: exp.Expr) -> bool:
    columns = list(node.find_all(exp.Column))
    is_plain = all(isinstance(part, exp.Column | exp.Dot | exp.Identifier) for part in node.walk())
    return is_plain and all(column.meta_get("stored") for column in columns)


def _listed_text(node: exp.ArrayToString, made: Made) -> None:
    _check_after(node, _texts(made), "ARRAY_TO_STRING makes more characters")


def _gathered(node: exp.GroupConcat, made: Made) -> None:
    around: exp.Expr = node
    while isinstance(around.parent, _AROUND):
        around = around.parent
    _check_after(around, _texts(made) * _GATHERED, "STRING_AGG makes more characters")


def _check_after(node: exp.Expr, most: int, what: str) -> None:
    """For what is a few times its operands: it is made, and nothing can be made of it any more."""
    place = exp.Placeholder()
    node.replace(place)
    checked = _checked(node, _length(node), most, _said(node, what, most))
    checked.type = node.type
    place.replace(checked)


def _compared(node: exp.Levenshtein, _: Made) -> None:
    longer = call("GREATEST", _length(node.this), _length(node.expression))
    _check(node, "expression", longer, MAX_COMPARED, "EDIT_DISTANCE takes texts longer")
    error = call("ERROR", exp.Literal.string("EDIT_DISTANCE takes ASCII characters alone here"))
    for name in ("this", "expression"):
        side = node.args[name]
        is_wide = exp.NEQ(this=call("STRLEN", side.copy()), expression=_length(side))
        node.set(name, exp.Case().when(is_wide, error.copy()).else_(side.copy()))


def _listed(node: exp.GenerateSeries, made: Made) -> None:
    bounds = [node.args[name] for name in ("start", "end")]
    start, end = map(_double, bounds)
    step = call("NULLIF", _double(node.args.get("step") or exp.Literal.number(1)), _number(0))
    size = exp.Div(this=exp.paren(exp.Sub(this=end, expression=start)), expression=step)
    size.type = exp.DataType.build("DOUBLE")
    most = _lists(made, is_constant=_are_constant(bounds))
    _check(node, "end", size, most, "GENERATE_ARRAY makes more elements")


def _listed_days(node: exp.GenerateDateArray, made: Made) -> None:
    bounds = [node.args[name] for name in ("start", "end")]
    start, end = (exp.cast(bound.copy(), exp.DType.DATE) for bound in bounds)
    days = call("ABS", call("DATE_DIFF", exp.Literal.string("day"), start, end))
    most = _lists(made, is_constant=_are_constant(bounds))
    _check(node, "end", days, most, "GENERATE_DATE_ARRAY spans more days")
    node.set("end", exp.cast(node.args["end"], exp.DType.DATE))


def _are_constant(nodes: list[exp.Expr]) -> bool:
    """Whether they are worked out once, and not for each row."""
    return not any(node.find(exp.Column, exp.Query) for node in nodes)


def _quantiles(node: exp.ApproxQuantiles, _: Made) -> None:
    """Each quantile becomes a word of the statement."""
    number = node.expression
    if not (isinstance(number, exp.Literal) and number.name.isdecimal()):
        raise refused("APPROX_QUANTILES takes a literal number of quantiles", at=node)
    if len(number.name) > 4 or int(number.name) > MAX_QUANTILES:
        raise refused(f"APPROX_QUANTILES gives at most {MAX_QUANTILES:,} quantiles", at=node)


_BOUNDS: dict[type[exp.Expr], Bound] = {
    exp.Repeat: _repeated,
    exp.Pad: _padded,
    exp.Replace: _replaced,
    exp.RegexpReplace: _replaced,
    exp.Concat: _joined,
    exp.DPipe: _joined,
    exp.ArrayConcat: _concatenated,
    exp.LowerHex: _doubled,
    exp.Hex: _doubled,
    exp.JSONFormat: _written,
    exp.ArrayToString: _listed_text,
    exp.GroupConcat: _gathered,
    exp.Levenshtein: _compared,
    exp.GenerateSeries: _listed,
    exp.GenerateDateArray: _listed_days,
    exp.ApproxQuantiles: _quantiles,
}


def _check(node: exp.Expr, argument: str, size: exp.Expr, most: int, what: str) -> None:
    """The call with an argument that is an error where `size` is above `most`.

    Around the call the check would come too late: constants are worked out before it.
    """
    said = _said(node, what, most)
    node.set(argument, _checked(node.args[argument].copy(), size, most, said))


def _checked(value: exp.Expr, size: exp.Expr, most: int, said: str) -> exp.Expr:
    error = call("ERROR", exp.Literal.string(said))
    checked = exp.Case().when(exp.GT(this=size, expression=_number(most)), error).else_(value)
    checked.type = value.type
    return checked


def _said(node: exp.Expr, what: str, most: int) -> str:
    place = where(node)
    said = f"{what} than {most:,}"
    return f"{place}: {said}" if place else said


def _length(of: exp.Expr) -> exp.Expr:
    is_bytes = of.is_type(exp.DType.BINARY, exp.DType.VARBINARY)
    return call("OCTET_LENGTH" if is_bytes else "LENGTH", of.copy())


def _double(number: exp.Expr) -> exp.Expr:
    return exp.cast(number.copy(), exp.DType.DOUBLE)


def _number(number: int) -> exp.Expr:
    return exp.Literal.number(number)
