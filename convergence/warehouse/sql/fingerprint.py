"""Numbers whose sums are the same on every engine just when the rows are. For `engine/move.py`.

Each value becomes a text that engines write alike, each row one hash of all its texts. Floats are
told to six places, exact numbers to nine. Of JSON, which engines write with other spaces and in
another order, the length is told; of arrays the number of elements, of records whether they are
there.
"""

from collections.abc import Sequence

from sqlglot import exp

from convergence.model.table import Column, Mode

_DIGITS = "0123456789abcdef"
_HALF = 12
"""Digits of a hash that make one number: so many that no sum of numbers is too large."""
_AT_ONCE = 16
"""So many hashes become one: a statement may make so long a text of a row, and not of all."""
_PLACES = {"FLOAT64": 10**6, "NUMERIC": 10**9}


def of_row(columns: Sequence[Column]) -> exp.Expr:
    """A hash of all values of a row, 32 digits."""
    nothing = exp.Literal.string("-")
    found: list[exp.Expr] = [
        exp.func("COALESCE", _hash(_text(column)), nothing.copy()) for column in columns
    ]
    while len(found) > 1:
        parts = [found[first : first + _AT_ONCE] for first in range(0, len(found), _AT_ONCE)]
        found = [_hash(exp.Concat(expressions=p, safe=False, coalesce=False)) for p in parts]
    return found[0]


def numbers(hash_: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
    """Two numbers from the digits of a hash, to be summed."""
    return _number(hash_, 1), _number(hash_, 1 + _HALF)


def _text(column: Column) -> exp.Expr:
    value: exp.Expr = exp.column(column.name, quoted=True)
    type_, places = column.type, _PLACES.get(column.type)
    if column.mode is Mode.REPEATED:
        value = exp.ArraySize(this=value)
    elif column.fields:
        value = exp.Is(this=value, expression=exp.null())
    elif type_ == "TIMESTAMP":
        value = exp.Anonymous(this="UNIX_MICROS", expressions=[value])
    elif type_ == "JSON":
        written = exp.Anonymous(this="TO_JSON_STRING", expressions=[value])
        space, nothing = exp.Literal.string(" "), exp.Literal.string("")
        value = exp.Length(this=exp.func("REPLACE", written, space, nothing))
    elif places is not None:
        scaled = exp.Mul(this=value, expression=exp.Literal.number(places))
        whole = exp.func("ROUND", scaled) if type_ == "FLOAT64" else scaled
        value = exp.TryCast(this=whole, to=exp.DataType.build("INT64", dialect="bigquery"))
    elif type_ not in {"STRING", "INT64", "BOOL", "DATE"}:
        value = exp.Is(this=value, expression=exp.null())
    return exp.Cast(this=value, to=exp.DataType.build("STRING", dialect="bigquery"))


def _hash(text: exp.Expr) -> exp.Expr:
    digest = exp.Anonymous(this="MD5", expressions=[text])
    return exp.Anonymous(this="TO_HEX", expressions=[digest])


def _number(hash_: exp.Expr, first: int) -> exp.Expr:
    """Twelve digits from the `first` on, as the number that they write."""
    number: exp.Expr | None = None
    for place in range(_HALF):
        digit = exp.func("SUBSTR", hash_.copy(), exp.convert(first + place), exp.convert(1))
        found = exp.Anonymous(this="STRPOS", expressions=[exp.Literal.string(_DIGITS), digit])
        term = exp.Mul(
            this=exp.paren(exp.Sub(this=found, expression=exp.convert(1))),
            expression=exp.convert(16 ** (_HALF - 1 - place)),
        )
        number = term if number is None else exp.Add(this=number, expression=term)
    return exp.Cast(this=number, to=exp.DataType.build("NUMERIC", dialect="bigquery"))
