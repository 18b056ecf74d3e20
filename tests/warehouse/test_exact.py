"""Money at the first read, against Python's Decimal, which shares no code with it."""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal, localcontext

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from convergence.warehouse.sql import exact

FROM_DOUBLE = exact.from_double(exp.cast(exp.column("v"), "DOUBLE"))
FROM_TEXT = exact.from_text(exp.cast(exp.column("v"), "TEXT"), "cost")


def rounded(value: Decimal) -> Decimal:
    """9 places, half away from zero."""
    with localcontext(prec=2000):
        return value.quantize(Decimal("1e-9"), rounding=ROUND_HALF_UP)


def read(tree: exp.Expr, values: Sequence[float | str]) -> list[Decimal | None]:
    sql = f"SELECT {tree.sql('duckdb')} FROM (SELECT unnest(?) AS v)"  # noqa: S608 - the tree under test
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        return [row[0] for row in connection.execute(sql, [list(values)]).fetchall()]


near_ties = st.builds(
    lambda units, ulps: (units + 0.5) / 1e9 + ulps * 2.0**-70,
    st.integers(-(10**13), 10**13),
    st.integers(-3, 3),
)
ties = st.builds(
    lambda whole, part: whole + part / 1024, st.integers(0, 2**24), st.integers(0, 1023)
)
amounts = st.one_of(
    ties,
    st.floats(-1e20, 1e20),
    st.floats(-1e-6, 1e-6),
    near_ties,
    st.decimals(-(10**9), 10**9, places=11).map(float),
)
plain_texts = st.decimals(-(10**20), 10**20, places=18).map(lambda amount: format(amount, "f"))
exponents = st.builds("{}e{}".format, st.integers(-(10**12), 10**12), st.integers(-20, 5))


@settings(max_examples=40, deadline=None)
@given(values=st.lists(amounts, min_size=40, max_size=80))
def test_a_float_is_its_exact_binary_value_rounded(values: list[float]) -> None:
    assert read(FROM_DOUBLE, values) == [rounded(Decimal(value)) for value in values]


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(plain_texts, min_size=30, max_size=60))
def test_a_text_is_its_digits_rounded(texts: list[str]) -> None:
    assert read(FROM_TEXT, texts) == [rounded(Decimal(text)) for text in texts]


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(exponents, min_size=30, max_size=60))
def test_a_text_with_an_exponent_is_the_float_it_names(texts: list[str]) -> None:
    assert read(FROM_TEXT, texts) == [rounded(Decimal(float(text))) for text in texts]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.5e-9, "1E-9"), (2.5e-9, "3E-9"), (98765432.1, "98765432.099999994"), (-0.5e-9, "-1E-9")],
)
def test_known_ties_and_large_amounts(value: float, expected: str) -> None:
    assert read(FROM_DOUBLE, [value]) == [Decimal(expected)] == [rounded(Decimal(value))]


def test_texts_for_nothing_are_null() -> None:
    assert read(FROM_TEXT, ["", " ", "NULL"]) == [None, None, None]


@pytest.mark.parametrize("text", ["abc", "1,5", "0x10", "1_000", "--1", "1e", "Infinity", "NaN"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(duckdb.Error, match="not an amount"):
        read(FROM_TEXT, [text])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_floats_that_are_no_amount_are_refused(value: float) -> None:
    with pytest.raises(duckdb.Error):
        read(FROM_DOUBLE, [value])
