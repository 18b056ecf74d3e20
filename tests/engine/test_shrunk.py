"""A file that has lost rows is a restatement, and everybody who should know of it is told."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.engine.service import Service
from convergence.model.run import Status
from tests.engine.test_restatements import mails
from tests.engine.test_sync import OLD, SYNC, YOUNG, by_day, facts, run_sync, warnings

Export = Callable[..., Path]


@pytest.mark.parametrize(
    ("template", "day"), [(SYNC, "2024-11-05"), ("gcp/cost/cost_billing", OLD)]
)
def test_a_file_that_has_lost_rows_is_named_in_the_log_the_result_and_the_mail(
    service: Service, export: Export, template: str, day: str
) -> None:
    rows = [(OLD, str(cost), "", "202410") for cost in range(1, 5)]
    path = export(*rows)
    export((YOUNG, "1", "", "202411"), name="whole.csv")
    run_sync(service)
    export(rows[0])
    run = run_sync(service, template, day)
    assert run.status is Status.COMPLETED, run.error
    assert by_day(service)[OLD][:2] == (1, Decimal(1))
    said = f"fewer rows than were published: {path.name}: 4 rows of {OLD}, now 1"
    assert warnings(service, run) == [said]
    assert facts(service, run)["files_shrunk"] == [
        {"path": path.name, "day": OLD, "rows_before": 4, "rows": 1}
    ]
    (mail,) = mails(service)
    assert said in mail.text.splitlines()


def test_rows_that_moved_to_another_file_are_not_lost(service: Service, export: Export) -> None:
    rows = [(OLD, str(cost), "", "202410") for cost in range(1, 5)]
    export(*rows)
    run_sync(service)
    export(rows[0])
    export(*rows[1:], (OLD, "5", "", "202410"), name="rest.csv")
    run = run_sync(service)
    assert by_day(service)[OLD][:2] == (5, Decimal(15))
    assert warnings(service, run) == []
