"""Sums of the bill as lines: whole, or taken apart by the types of their credits.

They are read from `part`, the sums by the columns that a question reads.
"""

import re
from collections.abc import Iterable, Iterator, Sequence, Set

from sqlglot import exp, parse_one

from convergence.warehouse.sql.cost_axes import CREDIT_TYPE, column, own_name

RATE = "currency_conversion_rate"
GIVEN_RATE = "x_currency_conversion_rate"
_RATE_AS_GIVEN = f"COALESCE(`{GIVEN_RATE}`, CAST(`{RATE}` AS FLOAT64))"
"""Rows of earlier versions have it at nine places alone."""

CREDITS_JSON = "x_credits_json"
_UNSPECIFIED = "CREDIT_TYPE_UNSPECIFIED"
"""The provider's own word for a credit without a type."""
_NOTHING = "CAST(0 AS NUMERIC)"
_CREDITS = r"""REGEXP_EXTRACT_ALL(`x_credits_json`, r'\{(?:[^"{}]|"(?:[^"\\]|\\.)*")*\}')"""
"""The texts of its objects as they are: as JSON, their numbers would have a float's digits."""
_DIGITS = r"""REGEXP_EXTRACT(`credit`, r'"amount"\s*:\s*"?(-?[0-9][-+.0-9eE]*)')"""
_IS_NUMERIC = r"""REGEXP_CONTAINS(`credit`, r'"amount"\s*:\s*("|-?[0-9]+\.[0-9]{9}\s*[,}])')"""
"""DuckDB writes all nine places of a NUMERIC, BigQuery quotes one; and floats as numbers."""
_AMOUNT = (
    f"IF({_IS_NUMERIC}, CAST({_DIGITS} AS NUMERIC), CAST(CAST({_DIGITS} AS FLOAT64) AS NUMERIC))"
)
"""As it was, or, of a float, exact as the rows' money is."""
_TYPE = f"COALESCE(NULLIF(JSON_VALUE(`credit`, '$.type'), ''), '{_UNSPECIFIED}')"
_NO_KEYS = {"rows", "cost", "credits", CREDITS_JSON}
_IS_LIST = f"COALESCE(`{CREDITS_JSON}`, '') LIKE '[%{{%'"


def whole(part: exp.Select, ids: Set[str]) -> exp.Select:
    """The sums as they are, but for empty ids, which are missing ones, and rates as given."""
    return exp.select(*_folded(part.named_selects, ids)).from_(named("part"), copy=False)


def _folded(names: Iterable[str], ids: Set[str]) -> Iterator[exp.Expr]:
    for name in names:
        if name == RATE:
            yield called(parsed(_RATE_AS_GIVEN), RATE)
            continue
        missing = exp.func("NULLIF", column(name), exp.Literal.string(""))
        yield called(missing, name) if name in ids else column(name)


def divided(part: exp.Select, ids: Set[str], *, is_divided: bool) -> exp.Union:
    """Each sum as a line without a type, that has its cost, and a line for each type of credit
    that its rows have. Unless the bill is divided by them, the first has all credits, too.

    Credits that the rows do not take apart are of a type that is not known.
    """
    keys = [name for name in part.named_selects if name not in _NO_KEYS]

    def line(rows: str, cost: str, credits_: str, credit_type: str) -> exp.Select:
        made = {"rows": rows, "cost": cost, "credits": credits_, CREDIT_TYPE: credit_type}
        figures = (called(parsed(said), name) for name, said in made.items())
        return exp.select(*_folded(keys, ids), *figures).from_(named("part"))

    untyped = line(
        "`rows`", "`cost`", _NOTHING if is_divided else "`credits`", "CAST(NULL AS STRING)"
    )
    whole = line("`rows`", _NOTHING, "`credits`", f"'{_UNSPECIFIED}'")
    each = line("`rows`", _NOTHING, "`rows` * `amount`", f"`{CREDIT_TYPE}`")
    return exp.union(
        untyped,
        whole.where(parsed(f"NOT {_IS_LIST} AND `credits` <> 0")),
        each.from_(_by_type([*keys, "rows"]).subquery("by_type"), copy=False),
        distinct=False,
        copy=False,
    )


def _by_type(keys: Sequence[str]) -> exp.Select:
    """Of each sum the types of its rows' credits, each once, and what a row has of it.

    Sums with the same keys are told apart by the hash of their text: the texts of many credits are
    long, and there would be one beside each credit; for numbers one worker would have to see all.
    """
    apart = exp.select(
        *map(column, keys),
        called(parsed(f"TO_HEX(MD5(`{CREDITS_JSON}`))"), "hash"),
        called(parsed(_CREDITS), "credits_of_sum"),
    ).from_(named("part"))
    apart.where(parsed(_IS_LIST), copy=False)
    query = exp.select(
        *map(column, keys),
        called(parsed(_TYPE), CREDIT_TYPE),
        called(parsed(f"SUM({_AMOUNT})"), "amount"),
    )
    credits_ = parsed("SELECT 1 FROM UNNEST(`credits_of_sum`) AS `credit`").args["from_"].this
    query.from_(apart.subquery("part", copy=False), copy=False).join(
        credits_, join_type="cross", copy=False
    )
    query.where(parsed(f"{_DIGITS} IS NOT NULL"), copy=False)
    return query.group_by(*map(column, [*keys, "hash", CREDIT_TYPE]), copy=False)


def sums(is_whole: str, credit_types: Sequence[str | None]) -> list[exp.Expr]:
    """`rows`, `cost`, the credits of each type, `credits` and `net`; of lines that are whole rows,
    but for the types.
    """
    credits_sum = parsed(f"COALESCE(SUM(IF({is_whole}, `line`.`credits`, 0)), 0)")
    names: dict[str, str | None] = {}
    for each in credit_types:
        names[own_name(credit_column(each), names)] = each
    shown = [each for each in credit_types if each is not None]
    return [
        called(
            exp.cast(exp.Sum(this=parsed(f"IF({is_whole}, `rows`, 0)")), exp.DType.BIGINT), "rows"
        ),
        called(parsed("SUM(`line`.`cost`)"), "cost"),
        *(called(_of_type(each, shown), name) for name, each in names.items()),
        called(credits_sum, "credits"),
        called(parsed("SUM(`line`.`cost`)") + credits_sum.copy(), "net"),
    ]


def _of_type(wanted: str | None, shown: Sequence[str]) -> exp.Expr:
    """Credits of a type, or of all that have no column of their own."""
    among: exp.Expr
    if wanted is None:
        known = exp.In(this=column(CREDIT_TYPE), expressions=list(map(exp.Literal.string, shown)))
        among = exp.not_(known)
    else:
        among = column(CREDIT_TYPE).eq(exp.Literal.string(wanted))
    chosen = exp.If(this=among, true=parsed("`line`.`credits`"), false=parsed(_NOTHING))
    return exp.func("COALESCE", exp.Sum(this=chosen), exp.Literal.number(0))


def credit_column(credit_type: str | None) -> str:
    """What the column of a type's credits is called, or that of all other types."""
    return f"credits_{re.sub(r'[^A-Za-z0-9_]', '_', credit_type or 'other')}"


def named(name: str) -> exp.Table:
    return exp.table_(name, quoted=True)


def called(value: exp.Expr, name: str) -> exp.Expr:
    return exp.alias_(value, name, quoted=True)


def parsed(said: str) -> exp.Expr:
    return parse_one(said, dialect="bigquery")
