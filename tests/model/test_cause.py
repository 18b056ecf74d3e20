"""Why days were not loaded, in words."""

from datetime import date, timedelta

from convergence.errors import CdpError, StepFailed
from convergence.model.cause import TOLD, explain

FIRST = date(2024, 10, 1)
DAYS = [FIRST + timedelta(days=number) for number in range(40)]


def shared(day: date) -> CdpError:
    return StepFailed(f"account A is there, too, on {day}", code="counted_twice", hint="keep one")


def test_equal_causes_of_days_are_told_once_with_their_span() -> None:
    text, hint = explain({day: shared(day) for day in DAYS[:10]})
    assert text == "2024-10-01 to 2024-10-10: account A is there, too, on <day>"
    assert hint == "keep one"


def test_days_that_are_no_span_are_named_or_counted_where_they_are_many() -> None:
    text, _ = explain({day: shared(day) for day in (DAYS[0], DAYS[1], DAYS[4])})
    assert text.startswith("2024-10-01 to 2024-10-02, 2024-10-05: ")
    text, _ = explain({day: shared(day) for day in DAYS[:13:2]})
    assert text.startswith("2024-10-01 to 2024-10-13 (7 days): ")


def test_a_cause_of_one_day_names_the_day() -> None:
    text, _ = explain({FIRST: shared(FIRST)})
    assert text == "2024-10-01: account A is there, too, on 2024-10-01"


def test_an_error_that_names_all_its_days_is_told_once_as_it_is() -> None:
    both = StepFailed("a.csv: 1 row of 2024-10-01, 1 row of 2024-10-02", code="column_lost")
    text, _ = explain(dict.fromkeys(DAYS[:2], both))
    assert text == f"2024-10-01 to 2024-10-02: {both.detail}"


def test_different_reasons_each_have_their_code_and_way_out() -> None:
    null = StepFailed("cost is NULL", code="required_null", hint="give these rows a cost")
    shrank = StepFailed("the source has lost b.csv", code="source_shrank", hint="put it back")
    text, hint = explain({DAYS[0]: null, DAYS[1]: shrank, DAYS[2]: null})
    assert text == (
        "2024-10-01, 2024-10-03: cost is NULL (required_null; try: give these rows a "
        "cost); 2024-10-02: the source has lost b.csv (source_shrank; try: put it back)"
    )
    assert hint == ""


def test_what_is_of_no_day_is_told_behind_the_days() -> None:
    text, _ = explain({FIRST: shared(FIRST)}, StepFailed("b.csv is cut off", code="source_broken"))
    assert text.endswith("; b.csv is cut off (source_broken)")


def test_of_very_many_causes_the_first_are_told_and_each_kind_has_one() -> None:
    failed: dict[date, CdpError] = {
        day: StepFailed(f"file {number}", code="source_broken") for number, day in enumerate(DAYS)
    }
    text, _ = explain(failed)
    assert text.endswith(f"file {TOLD - 1}; and 20 more")
    failed[DAYS[-1]] = shared(DAYS[-1])
    assert explain(failed)[0].endswith("(counted_twice; try: keep one)")
