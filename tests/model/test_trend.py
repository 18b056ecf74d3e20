from datetime import date
from decimal import Decimal

import pytest

from convergence.model.trend import (
    change,
    month_to_date,
    periods,
    same_days_before,
    share,
    sparkline,
)


def test_month_so_far_is_beside_the_same_days_before() -> None:
    assert month_to_date(date(2026, 11, 25)) == (date(2026, 11, 1), date(2026, 11, 25))
    assert same_days_before(date(2026, 11, 25)) == (date(2026, 10, 1), date(2026, 10, 25))


def test_shorter_month_before_ends_where_it_ends() -> None:
    assert same_days_before(date(2026, 3, 31)) == (date(2026, 2, 1), date(2026, 2, 28))


@pytest.mark.parametrize(
    ("now", "before", "said"),
    [("110", "100", "+10.0 %"), ("50", "200", "-75.0 %"), ("5", "0", ""), ("5", "-1", "")],
)
def test_change_is_in_percent_of_what_was(now: str, before: str, said: str) -> None:
    assert change(Decimal(now), Decimal(before)) == said


def test_sparkline_has_a_bar_for_each_value() -> None:
    assert sparkline([Decimal(0), Decimal("3.5"), Decimal(7), Decimal(-2)]) == "▁▅█▁"
    assert sparkline([Decimal(0), Decimal(-1)]) == "▁▁"
    assert sparkline([]) == ""


def test_no_period_is_left_out() -> None:
    assert periods("day", "2024-02-28", "2024-03-01") == ["2024-02-28", "2024-02-29", "2024-03-01"]
    assert periods("week", "2024-12-23", "2025-01-06") == ["2024-12-23", "2024-12-30", "2025-01-06"]
    assert periods("month", "2024-11", "2025-01") == ["2024-11", "2024-12", "2025-01"]


def test_share_is_in_percent_of_a_whole_that_is_something() -> None:
    assert share(Decimal(1), Decimal(3)) == "33.3 %"
    assert share(Decimal(1), Decimal(0)) == ""
