"""Totals: exact, whatever their size."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.model.money import (
    MoneyKey,
    Total,
    differences,
    plain,
    totals_from_json,
    totals_to_json,
)

KEY = MoneyKey("202411", "regular", "EUR")
units = st.integers(-(10**37), 10**37)


@given(st.lists(units, max_size=30))
def test_a_sum_loses_no_digit(amounts: list[int]) -> None:
    total = Total()
    for amount in amounts:
        total = total + Total(1, Decimal(f"{amount}e-9"), Decimal(0))
    assert total.rows == len(amounts)
    assert Fraction(total.cost) == Fraction(sum(amounts), 10**9)


def test_one_unit_of_the_last_place_is_a_difference() -> None:
    big = Total(1, Decimal("12345678901234567890123456789.000000001"))
    other = Total(1, Decimal("12345678901234567890123456789.000000002"))
    (sentence,) = differences({KEY: big}, {KEY: other})
    assert "000000001" in sentence
    assert "000000002" in sentence


def test_totals_come_back_from_json_unchanged() -> None:
    totals = {KEY: Total(3, Decimal("1.500000000"), Decimal("-0.1"))}
    assert totals_from_json(totals_to_json(totals)) == totals


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ("0", "0.000000000"),
        ("-0.0", "0.000000000"),
        ("1E+3", "1000.000000000"),
        ("-1.5", "-1.500000000"),
        ("0.000000000000000173", "0.000000000000000173"),
        (
            "98765432109876543210987654321098765432.1",
            "98765432109876543210987654321098765432.100000000",
        ),
    ],
)
def test_an_amount_is_told_with_nine_places_or_with_all_that_it_has(amount: str, said: str) -> None:
    assert plain(Decimal(amount)) == said
