"""Figures as the pages write them."""

from decimal import Decimal

from convergence.web.words import MINUS, change, money


def test_the_longest_amount_keeps_its_digits() -> None:
    assert money(Decimal("-" + "9" * 29 + ".991")) == MINUS + ",".join(["99"] + ["999"] * 9) + ".99"


def test_less_than_a_cent_is_not_nothing() -> None:
    assert (money(Decimal("0.001")), money(Decimal(0))) == ("<0.01", "0.00")


def test_a_ratio_of_any_size_is_written() -> None:
    assert change(Decimal("1e29")).startswith("+10,000,000")
