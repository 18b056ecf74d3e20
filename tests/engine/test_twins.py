"""A copy of a file doubles the bill: it is loaded, and told of for as long as it is there."""

import gzip
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from convergence.engine.service import Service
from convergence.model.run import Status
from tests.conftest import grant_export
from tests.engine.test_restatements import mails
from tests.engine.test_sync import OLD, YOUNG, by_day, facts, run_sync, warnings

Export = Callable[..., Path]
NEXT = "2024-10-02"


def test_a_copy_that_was_written_another_way_is_told_of_by_each_run_while_it_is_there(
    service: Service, export: Export
) -> None:
    one = export((OLD, "1", "", "202410"), (NEXT, "2", "-1", "202410"), (YOUNG, "4", "", "202411"))
    grant_export(service, one.with_name("*.csv*"), "acme")
    run_sync(service)
    lines = one.read_text().splitlines()
    copy = one.with_name("b.csv.gz")
    copy.write_bytes(gzip.compress("\n".join([*lines[:3], ""]).encode()))
    said = f"b.csv.gz is as a.csv on {OLD} to {NEXT}: 2 rows"
    warned = f"rows that count twice if a file is a copy: {said}"
    for _ in range(2):
        run = run_sync(service)
        assert run.status is Status.COMPLETED, run.error
        assert warnings(service, run) == [warned]
        assert facts(service, run)["files_alike"] == [
            {
                "path": copy.name,
                "other": one.name,
                "first_day": OLD,
                "last_day": NEXT,
                "days": 2,
                "rows": 2,
            }
        ]
    assert by_day(service)[OLD][:2] == (2, Decimal(2))
    (mail,) = mails(service)
    assert warned in mail.text.splitlines()
    copy.unlink()
    run = run_sync(service, allow_shrink=True)
    assert said not in str(warnings(service, run))
    assert "files_alike" not in facts(service, run)


def test_files_that_differ_in_an_amount_or_have_none_are_no_copies(
    service: Service, export: Export
) -> None:
    one = export((OLD, "1", "", "202410"), (YOUNG, "0", "", "202411"))
    shutil.copy(one, one.with_name("b.csv"))
    export((OLD, "1", "-0.1", "202410"), (YOUNG, "0", "", "202411"), name="b.csv")
    run = run_sync(service)
    assert warnings(service, run) == []
    assert "files_alike" not in facts(service, run)
