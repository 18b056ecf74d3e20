"""What a query's bytes cost."""

from decimal import Decimal

from convergence.model.price import billed, price_of


def test_a_tebibyte_costs_its_price() -> None:
    assert price_of(1 << 40, Decimal("6.25")) == Decimal("6.250000")


def test_small_tables_are_billed_for_ten_mebibytes_each() -> None:
    assert billed(236_124, 2) == 20_971_520


def test_larger_reads_are_billed_as_they_are() -> None:
    assert billed(30 << 20, 1) == 30 << 20


def test_a_query_that_reads_nothing_is_free() -> None:
    assert billed(0, 1) == 0
