"""Each trap of a bill, against the oracle, in one export that one run loads."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.engine import costs, reconcile
from convergence.engine.onboard import onboard
from convergence.model.restatement import Reason
from convergence.model.run import Status
from convergence.settings.fields import Settings
from convergence.store import restatements
from convergence.store.restatements import Wanted
from convergence.wiring import build
from tests.bill import oracle
from tests.bill.conftest import KILLERS, Bill
from tests.bill.killers import LATE, NEW
from tests.conftest import EXPORT, application, grant_export
from tests.engine.test_sync import run_sync
from tests.exports import write_rows
from tests.fakes import FakeClock

BY_ALL = """
    SELECT ingestion_date, invoice_month, service_id, project_id, cost_type, currency,
      COUNT(*), SUM(cost), SUM(credits_total)
    FROM billing_cost_daily GROUP BY 1, 2, 3, 4, 5, 6
"""


@pytest.mark.parametrize("name", KILLERS)
def test_a_killer_is_exact(bill: Bill, name: str) -> None:
    found = {row[:6]: oracle.Sums(*row[6:]) for row in bill.query(BY_ALL) if row[2] == name}
    assert found == oracle.bill(KILLERS[name])


def test_nothing_is_there_besides(bill: Bill) -> None:
    found = {row[:6]: oracle.Sums(*row[6:]) for row in bill.query(BY_ALL)}
    assert found == oracle.bill(bill.rows)
    assert all(item.is_equal for item in reconcile.reconciliation(bill.service, "acme", None))


def test_days_of_us_pacific_have_23_and_25_hours(bill: Bill) -> None:
    name = "days_of_23_and_25_pacific_hours"
    sql = (
        "SELECT DATE(usage_start_time, 'America/Los_Angeles'), COUNT(*)"  # noqa: S608 - a name of ours
        f" FROM billing_cost_daily WHERE service_id = '{name}' GROUP BY 1"
    )
    found = dict(bill.query(sql))
    assert found == oracle.pacific_days(KILLERS[name])
    assert (found[date(2024, 3, 10)], found[date(2024, 11, 3)]) == (23, 25)


def test_a_correction_is_5_by_usage_and_ten_less_five_by_invoice(bill: Bill) -> None:
    sql = (
        "SELECT invoice_month, SUM(cost) FROM billing_cost_daily"  # noqa: S608 - a name of ours
        f" WHERE service_id = '{LATE}' GROUP BY 1 ORDER BY 1"
    )
    assert bill.query(sql) == [("202410", Decimal(10)), ("202411", Decimal(-5))]
    with bill.service.database.read() as tx:
        (item,) = restatements.page(tx, "acme", Wanted(), limit=10)
    assert (item.usage_date, item.invoice_month) == (date(2024, 10, 3), "202411")
    assert (item.old.cost, item.new.cost) == (Decimal(0), Decimal(-5))
    assert item.reason is Reason.CORRECTION


def test_a_repeated_label_multiplies_nothing_and_is_kept(bill: Bill) -> None:
    sql = (
        "SELECT labels_json, cost FROM billing_cost_daily"
        " WHERE service_id = 'label_with_a_repeated_key'"
    )
    ((labels, cost),) = bill.query(sql)
    assert [label["value"] for label in json.loads(labels)] == ["prod", "dev"]
    assert cost == 4


def test_equal_credits_are_both_kept(bill: Bill) -> None:
    sql = (
        "SELECT x_credits_json FROM billing_cost_daily"
        " WHERE service_id = 'two_credits_of_one_type_and_name'"
    )
    ((credits_,),) = bill.query(sql)
    assert [Decimal(str(credit["amount"])) for credit in json.loads(credits_)] == [
        Decimal("-1.1"),
        Decimal("-1.1"),
    ]


def test_a_column_is_null_before_it_appears(bill: Bill) -> None:
    sql = (
        "SELECT service_id, x_cost_at_effective_price_default FROM billing_cost_daily"
        " WHERE x_cost_at_effective_price_default IS NOT NULL"
    )
    there = {(name, value) for name, value in bill.query(sql) if name != LATE}
    assert there == {(NEW, Decimal("2.25"))}


def test_two_exports_of_one_tenant_keep_their_rows_of_a_day(tmp_path: Path) -> None:
    service = build(Settings(home=tmp_path / "home"))
    service.clock = FakeClock()
    onboard(service, application("acme", plan="SCALE"))
    one, other = KILLERS["twins_that_are_both_real"], KILLERS["two_currencies"]
    other = [row | {"billing_account_id": "99AAAA-999999-AAAAAA"} for row in other]
    exports = {EXPORT: one, EXPORT.replace("TEST", "OTHER"): other}
    for number, (table, rows) in enumerate(exports.items()):
        grant_export(service, tmp_path / str(number) / "*.parquet", "acme", table)
        write_rows(tmp_path / str(number) / "a.parquet", rows)
    for table in [*exports, *exports]:
        run = run_sync(service, source=table)
        assert run.status is Status.COMPLETED, run.error
    found = {row[:6]: oracle.Sums(*row[6:]) for row in costs.query(service, "acme", BY_ALL).rows}
    assert found == oracle.bill([*one, *other])
    service.close()
