from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import Invalid
from convergence.model.day import FIRST_DAY, parse_day

TODAY = date(2024, 11, 2)


@given(day=st.dates(FIRST_DAY, TODAY + timedelta(days=1)))
def test_every_day_from_2006_to_tomorrow_is_read(day: date) -> None:
    assert parse_day(day.isoformat(), today=TODAY) == day


@given(day=st.dates().filter(lambda day: not FIRST_DAY <= day <= TODAY + timedelta(days=1)))
def test_a_day_out_of_the_range_is_refused(day: date) -> None:
    with pytest.raises(Invalid, match="from 2006-01-01 to 2024-11-03") as caught:
        parse_day(day.isoformat(), today=TODAY)
    assert caught.value.code == "invalid_date"


ARABIC_DIGITS = "2024-11-01".translate({ord("0") + digit: 0x660 + digit for digit in range(10)})
WIDE_DIGITS = "2024-11-01".translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})


@pytest.mark.parametrize(
    "text",
    [
        *("", "2024-13-01", "2024-02-30", "1730419200", "0", "2024-W44-5", "20241101", "2024-11-1"),
        *("2024-11-01T00:00:00", "2024-11-01\n", " 2024-11-01", "2024-11-01'; --", ARABIC_DIGITS),
        *(WIDE_DIGITS, "2024\u201011\u201001", "+024-11-01", "2024-11-01\x00", "\ud800"),
        "x" * 100_000,
    ],
)
def test_what_is_not_a_plain_day_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"^Date must be in YYYY-MM-DD format \(got: ") as caught:
        parse_day(text, today=TODAY)
    assert caught.value.code == "invalid_date"
    assert caught.value.detail.isascii()
    assert caught.value.detail.isprintable()


@given(text=st.text() | st.from_regex(r"\d{4}-\d{2}-\d{2}"))
def test_any_text_is_its_own_day_or_refused(text: str) -> None:
    try:
        day = parse_day(text, today=TODAY)
    except Invalid:
        return
    assert day.isoformat() == text
