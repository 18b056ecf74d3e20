"""A source is the export of the accounts that share its files; others are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from convergence.engine.service import Service
from convergence.model.run import Status
from tests.engine.test_loads import run_day
from tests.engine.test_sync import OLD, YOUNG, by_day, run_sync

Export = Callable[..., Path]


def test_the_export_of_another_account_is_refused_and_named(
    service: Service, export: Export
) -> None:
    export((OLD, "1", "", "202410"))
    run_sync(service)
    other = export((YOUNG, "1", "", "202411"), name="other.csv")
    other.write_text(other.read_text().replace("01AB-CD", "99XX-YY"))
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "mixed_accounts")
    assert "99XX-YY" in (run.error or "")
    assert "other.csv" in (run.error or "")
    alone = run_day(service, YOUNG)
    assert (alone.status, alone.error_code) == (Status.FAILED, "mixed_accounts")
    assert [*by_day(service)] == [OLD]


@pytest.mark.parametrize(
    ("stray", "others"),
    [(1, (1, 1)), (2, (3,)), (1, (1,))],
    ids=["one_file_of_three", "fewer_rows", "as_many_and_later_by_name"],
)
def test_at_first_the_export_is_that_of_the_many(
    service: Service, export: Export, stray: int, others: tuple[int, ...]
) -> None:
    name = "z.csv" if others == (stray,) else "0.csv"
    foreign = export(*[(YOUNG, "1", "", "202411")] * stray, name=name)
    foreign.write_text(foreign.read_text().replace("01AB-CD", "99XX-YY"))
    for number, rows in enumerate(others, start=1):
        export(*[(OLD, "1", "", "202410")] * rows, name=f"{number}.csv")
    run = run_sync(service)
    assert (run.status, run.error_code) == (Status.FAILED, "mixed_accounts")
    assert f"is the export of 01AB-CD; {name} holds 99XX-YY" in (run.error or "")
    assert [*by_day(service)] == [OLD]
