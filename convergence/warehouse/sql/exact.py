"""Money from what a file holds: DECIMAL(38,9), rounded once, half away from zero.

A float is taken as the exact binary value it is, as BigQuery casts FLOAT64 to NUMERIC; a text is
taken by its digits, unless it has an exponent. All trees here are DuckDB's.
"""

from sqlglot import exp, parse_one

NUMERIC = "DECIMAL(38,9)"

# DuckDB multiplies a float by 1e9 in floating point: wrong near a tie, and from 2**52 / 1e9 on,
# where the product has no fraction left that could tell a tie.
_FROM_DOUBLE = parse_one(
    "CASE WHEN ABS(:v) >= 4503599 OR ABS(ABS(:v * 1e9) - FLOOR(ABS(:v * 1e9)) - 0.5) < 1e-4"
    " THEN CAST(PRINTF('%.40f', :v) AS DECIMAL(38,9)) ELSE CAST(:v AS DECIMAL(38,9)) END",
    dialect="duckdb",
)
_FROM_TEXT = parse_one(
    r"CASE WHEN REGEXP_FULL_MATCH(TRIM(:v), '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)')"
    r" THEN CAST(TRIM(:v) AS DECIMAL(38,9))"
    r" WHEN :v IS NULL OR TRIM(:v) IN ('', 'NULL') THEN NULL"
    r" WHEN REGEXP_FULL_MATCH(TRIM(:v), '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)[eE][+-]?[0-9]+')"
    r" THEN :d ELSE ERROR(:name || ' is not an amount: ' || :v) END",
    dialect="duckdb",
)


def from_double(value: exp.Expr) -> exp.Expr:
    """The exact binary value, rounded. NaN, infinity and 30 integer digits are errors."""
    return exp.replace_placeholders(_FROM_DOUBLE.copy(), v=value)


def from_text(value: exp.Expr, name: str) -> exp.Expr:
    """The digits as written; '' and 'NULL' are NULL; any other text is an error that names it."""
    double = from_double(exp.cast(value.copy(), "DOUBLE", dialect="duckdb"))
    label = exp.Literal.string(name)
    return exp.replace_placeholders(_FROM_TEXT.copy(), v=value, d=double, name=label)
