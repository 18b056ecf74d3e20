"""What is wrong with a source's files is told, whatever comes of the search for its rows."""

from datetime import date, timedelta

import pytest

from convergence.model.load import FileState
from convergence.model.unit import SHOWN, Survey, Unit, UnitDay, find_problems

TODAY = date(2025, 10, 1)


def dated_ahead(path: str, days: int) -> Unit:
    file = FileState(path=path, size=1, mtime_ns=1, ctime_ns=1)
    held = (UnitDay(day=TODAY + timedelta(days=2 + n), totals={}) for n in range(days))
    return Unit(file=file, content_hash=path, days=tuple(held))


@pytest.mark.parametrize(("files", "days"), [(9, 3), (3, 9)])
def test_rows_of_days_to_come_are_searched_in_so_many_days_of_all_files(
    files: int, days: int
) -> None:
    asked: list[date] = []

    def locate(path: str, day: date) -> str:
        asked.append(day)
        return f"{path}: line 2"

    survey = Survey(
        table="billing_cost_daily",
        source="export",
        narrowing="",
        known={},
        seen={path: dated_ahead(path, days) for path in map(str, range(files))},
        published={},
        is_first=True,
    )
    problems = find_problems(survey, today=TODAY, allow_shrink=False, locate=locate)
    late = [TODAY + timedelta(days=2 + n) for n in range(days)]
    assert asked == late[:SHOWN]
    assert [*problems] == late
    assert {problem.code for problem in problems.values()} == {"future_usage"}
