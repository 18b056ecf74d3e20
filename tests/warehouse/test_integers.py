"""Whole numbers as they are written: BigQuery's INT64, no wider one of the engine."""

import duckdb
import pytest

from convergence.errors import Invalid
from tests.warehouse.test_growth import translate


@pytest.mark.parametrize("number", ["9" * 38, "9223372036854775808", "-9223372036854775809"])
def test_an_integer_that_no_int64_holds_is_refused_at_its_place(number: str) -> None:
    with pytest.raises(Invalid, match=r"^1:(8|9): the integer \d+ does not fit INT64") as refused:
        translate(f"SELECT {number}")
    assert "NUMERIC '" in refused.value.hint


def test_the_largest_and_the_smallest_int64_are_read() -> None:
    ends = "SELECT 9223372036854775807, -9223372036854775808, NUMERIC '99999999999999999999'"
    assert duckdb.execute(translate(ends)).fetchone() == (2**63 - 1, -(2**63), 10**20 - 1)
