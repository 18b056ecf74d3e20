"""What was reported and then became other: recorded key by key, and taken back exactly."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from convergence.engine import costs, recall, reconcile
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.errors import Invalid
from convergence.model.cost import Calendar, CostQuery, Dimension, parse_filter
from convergence.model.day import FIRST_DAY, LAST_DAY
from convergence.model.invoice import MonthState
from convergence.model.notification import Notification
from convergence.model.restatement import Reason, Restatement
from convergence.model.run import Status
from convergence.store import loads, notifications, restatements
from convergence.store.restatements import Wanted
from tests.conftest import grant_export
from tests.engine.test_sync import OLD, YOUNG, run_sync
from tests.exports import export_row, write_rows
from tests.fakes import FakeClock

Export = Callable[..., Path]
BILLING = "gcp/cost/cost_billing"
DETAILED = "local.billing.gcp_billing_export_resource_v1_TEST"
ALL = CostQuery(date_from=date(2024, 1, 1), date_to=date(2025, 1, 1), group_by=(Dimension.DAY,))

_EVER = CostQuery(date_from=FIRST_DAY, date_to=LAST_DAY, calendar=Calendar.INVOICE_MONTH)
_BY_MONTH = replace(_EVER, group_by=(Dimension.MONTH,))
EARLIER = [
    replace(ALL, group_by=tuple(sorted(recall.KEPT[Calendar.USAGE_UTC]))),
    replace(ALL, group_by=(Dimension.WEEK,), filters={Dimension.MONTH: ("2024-10",)}),
    replace(_EVER, group_by=tuple(sorted(recall.KEPT[Calendar.INVOICE_MONTH]))),
    _BY_MONTH,
    replace(_BY_MONTH, filters={Dimension.MONTH: ("", "2024-11")}),
    replace(_BY_MONTH, date_from=date(2024, 10, 31), date_to=date(2024, 10, 31)),
    replace(_BY_MONTH, date_from=date(2024, 11, 1)),
    replace(_BY_MONTH, date_to=date(2024, 11, 1)),
]
"""Questions whose earlier answers are known."""


def recorded(service: Service) -> list[Restatement]:
    with service.database.read() as tx:
        return restatements.page(tx, "acme", Wanted(), limit=1000)


def amounts(service: Service) -> list[tuple[str, Decimal, Decimal, Reason]]:
    return [(r.usage_date.isoformat(), r.old.net, r.new.net, r.reason) for r in recorded(service)]


def adjusted(path: Path, text: str = "adjustment") -> None:
    """Make the last row an adjustment."""
    lines = path.read_text().splitlines()
    lines[-1] = lines[-1].replace(",regular", f",{text}")
    path.write_text("\n".join(lines) + "\n")


def test_a_first_full_load_restates_nothing(service: Service, export: Export) -> None:
    export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    run_sync(service)
    assert recorded(service) == []


def test_a_late_row_is_recorded_with_both_runs(service: Service, export: Export) -> None:
    export((OLD, "1", "", "202410"))
    first = run_sync(service)
    export((OLD, "0.25", "-0.05", "202411"), name="late.csv")
    second = run_sync(service)
    (item,) = recorded(service)
    assert (item.invoice_month, item.service_id, item.project_id) == ("202411", "6F81", "proj")
    assert (item.old.rows, item.old.cost, item.new.cost) == (0, Decimal(0), Decimal("0.25"))
    assert (item.old_run_id, item.run_id) == (first.run_id, second.run_id)
    assert (item.reason, item.new.credits) == (Reason.LATE_ROW, Decimal("-0.05"))


def test_each_change_has_its_reason(service: Service, export: Export) -> None:
    export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    run_sync(service)
    steps = [
        (((YOUNG, "1", "", "202411"),), "young.csv", Reason.ARRIVING),
        (((OLD, "0", "-0.5", "202410"),), "credit.csv", Reason.CREDIT),
        (((OLD, "-1", "", "202410"),), "correction.csv", Reason.CORRECTION),
        (((OLD, "7", "", "202410"), (YOUNG, "2", "", "202411")), "a.csv", Reason.SOURCE_REWRITTEN),
        ((("2024-09-01", "7", "", "202410"),), "older.csv", Reason.LATE_ROW),
    ]
    for rows, name, reason in steps:
        path = export(*rows, name=name)
        if reason is Reason.CORRECTION:
            adjusted(path)
        run = run_sync(service, allow_shrink=True)
        assert run.status is Status.COMPLETED, run.error
        assert recorded(service)[0].reason is reason


def test_a_day_loaded_alone_restates_too(service: Service, export: Export) -> None:
    export((OLD, "1", "", "202410"))
    run_sync(service, BILLING, OLD)
    export((OLD, "0.25", "", "202410"), name="late.csv")
    run_sync(service, BILLING, OLD)
    run_sync(service, BILLING, OLD)
    assert amounts(service) == [(OLD, Decimal(1), Decimal("1.25"), Reason.LATE_ROW)]


def test_what_fails_restates_nothing(service: Service, export: Export) -> None:
    path = export((OLD, "1", "", "202410"))
    run_sync(service)
    path.unlink()
    export((YOUNG, "1", "", "202411"), name="b.csv")
    assert run_sync(service).status is Status.FAILED
    assert amounts(service) == [(YOUNG, Decimal(0), Decimal(1), Reason.ARRIVING)]


def test_twins_that_are_both_real_stay_two(service: Service, export: Export) -> None:
    export((OLD, "1", "", "202410"), (OLD, "1", "", "202410"))
    run_sync(service)
    export((OLD, "1", "", "202410"), name="third.csv")
    run_sync(service)
    (item,) = recorded(service)
    assert (item.old.rows, item.new.rows, item.reason) == (2, 3, Reason.LATE_ROW)


def test_an_earlier_bill_is_what_was_reported_then(
    service: Service, export: Export, clock: FakeClock
) -> None:
    moments: list[datetime] = []
    reported: list[list[object]] = []
    contents = [
        {"a": [(OLD, "1", "", "202410")]},
        {"b": [(OLD, "0.25", "-0.05", "202411"), (YOUNG, "2", "", "202411")]},
        {"a": [(OLD, "3", "", "202410"), ("2024-10-02", "4", "", "202410")]},
        {"a": [("2024-10-02", "4", "", "")], "c": [(OLD, "9", "-9", "202410")]},
        {"c": [(OLD, "9", "-9", "202410"), (OLD, "1", "", "2024-1"), (OLD, "1", "", "202412")]},
    ]
    for content in contents:
        for name, rows in content.items():
            export(*rows, name=f"{name}.csv")
        run = run_sync(service)
        assert run.status is Status.COMPLETED, run.error
        clock.advance(hours=1)
        moments.append(service.clock.now())
        reported.append([bill(service, question) for question in EARLIER])
        clock.advance(hours=1)
    for moment, then in zip(moments, reported, strict=True):
        assert [bill(service, question, moment) for question in EARLIER] == then
    first = reconcile.bill(service, "acme", ALL, datetime(2024, 1, 1, tzinfo=UTC))
    assert (first.result.rows, first.complete_to) == ([], None)
    assert first.first_loaded_at is not None
    assert first.first_loaded_at < moments[0]


def bill(service: Service, question: CostQuery, moment: datetime | None = None) -> object:
    """Sums by id, and how many rows."""
    result = reconcile.bill(service, "acme", question, moment).result
    names = [name for name, _ in result.columns]
    kept = [i for i, name in enumerate(names) if not name.endswith(("_name", "_description"))]
    return [tuple(row[i] for i in kept) for row in result.rows]


def test_an_earlier_bill_is_filtered_and_knows_no_sku(
    service: Service, export: Export, clock: FakeClock
) -> None:
    export((OLD, "1", "", "202410"))
    run_sync(service)
    clock.advance(hours=1)
    then = service.clock.now()
    export((OLD, "1", "", "202410"), name="b.csv")
    run_sync(service)
    other = replace(ALL, filters={Dimension.SERVICE: ("other",)})
    own = replace(ALL, filters={Dimension.SERVICE: ("6F81",), Dimension.DAY: (OLD,)})
    assert bill(service, other, then) == []
    assert bill(service, own, then) == [(date(2024, 10, 1), "EUR", 1, 1, 0, 1)]
    with pytest.raises(Invalid, match="sku"):
        reconcile.bill(service, "acme", replace(ALL, group_by=(Dimension.SKU,)), then)
    with pytest.raises(Invalid, match="keep the usage day in UTC alone"):
        reconcile.bill(service, "acme", replace(ALL, calendar=Calendar.USAGE_PACIFIC), then)
    with pytest.raises(Invalid, match="no day with calendar=invoice_month"):
        reconcile.bill(service, "acme", replace(ALL, calendar=Calendar.INVOICE_MONTH), then)


def test_the_bill_agrees_with_its_source_and_names_the_runs(
    service: Service, export: Export
) -> None:
    export((OLD, "1", "-0.25", "202410"), (YOUNG, "2", "", "202411"))
    first = run_sync(service)
    export((OLD, "0.5", "", "202410"), name="late.csv")
    second = run_sync(service)
    october, november = reconcile.reconciliation(service, "acme", None)
    assert (october.ours.cost, october.ours.credits) == (Decimal("1.5"), Decimal("-0.25"))
    assert october.is_equal
    assert november.is_equal
    assert (october.run_ids, november.run_ids) == ((second.run_id,), (first.run_id,))
    assert reconcile.reconciliation(service, "acme", "202411") == [november]


def test_rows_lost_in_the_warehouse_show_as_a_difference(service: Service, export: Export) -> None:
    """A proof is made anew, and never one that was kept."""
    export((OLD, "1", "", "202410"))
    run_sync(service)
    assert [month.is_equal for month in reconcile.reconciliation(service, "acme", None)] == [True]
    dataset = Path(service.config.home, "warehouse")
    service.warehouse.close()
    (file,) = (path for path in dataset.glob("*.duckdb") if "acme" in path.name)
    with duckdb.connect(str(file)) as connection:
        connection.execute("DELETE FROM billing_cost_daily")
    (october,) = reconcile.reconciliation(service, "acme", None)
    assert (october.is_equal, october.difference) == (False, Decimal(-1))


def test_an_invoice_month_that_is_none_stays_open_and_has_no_name(
    service: Service, export: Export
) -> None:
    odd = ("", "0", "2024-10", "202413", "999912")
    export(*((OLD, "1", "", month) for month in (*odd, "202410")))
    run_sync(service)
    found = reconcile.reconciliation(service, "acme", None)
    assert sum(month.ours.cost for month in found) == len(odd) + 1
    assert all(month.is_equal for month in found)
    states = {month.invoice_month: month.state for month in found}
    assert {states[month] for month in odd} == {MonthState.OPEN}
    ever = CostQuery(date_from=date.min, date_to=date.max, calendar=Calendar.INVOICE_MONTH)
    by_month = replace(ever, group_by=(Dimension.MONTH,))
    rows = costs.summary(service, "acme", by_month).rows
    assert {row[0]: row[2] for row in rows} == {None: len(odd), "2024-10": 1}
    group, month = parse_filter("invoice_month=2024-10")
    one = replace(ever, filters={group: (month,)})
    assert [row[1] for row in costs.summary(service, "acme", one).rows] == [1]


def test_sums_that_differ_from_their_rows_are_no_proof(service: Service, export: Export) -> None:
    export((OLD, "1", "", "202410"))
    run_sync(service)
    service.warehouse.close()
    with duckdb.connect(str(Path(service.config.home, "warehouse", "acme.duckdb"))) as connection:
        connection.execute("UPDATE billing_cost_summary SET cost = 99")
    (october,) = reconcile.reconciliation(service, "acme", None)
    assert (october.is_equal, october.difference) == (False, Decimal(0))
    assert october.kept.net == Decimal(99)


def test_between_the_warehouse_and_the_store_an_earlier_bill_is_right(
    service: Service, export: Export, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    export((OLD, "1", "", "202410"))
    run_sync(service)
    clock.advance(minutes=1)
    then = clock.now()
    clock.advance(minutes=1)
    export((OLD, "5", "", "202410"), name="late.csv")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loads, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            run_sync(service)
    assert bill(service, ALL, then) == [(date(2024, 10, 1), "EUR", 1, 1, 0, 1)]
    assert [item.is_equal for item in reconcile.reconciliation(service, "acme", None)] == [True]
    assert [r.new.cost for r in recorded(service)] == [Decimal(6)]


def test_who_reads_the_bill_is_told_of_amounts_that_changed(
    service: Service, export: Export
) -> None:
    export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    run_sync(service)
    export((YOUNG, "4", "", "202411"), name="arriving.csv")
    run_sync(service)
    assert mails(service) == []
    export((OLD, "0.25", "-0.05", "202410"), ("2024-10-02", "3", "", "202410"), name="late.csv")
    run = run_sync(service)
    (mail,) = mails(service)
    assert mail.subject == "[RESTATED] acme: costs of 2024-10-01 to 2024-10-02 have changed"
    assert "\nEUR: +3.2 (1 became 4.2), late_row\n" in mail.text
    assert f"Run: {run.run_id}" in mail.text


def test_a_mail_of_one_day_tells_what_an_amount_was_and_is(
    service: Service, export: Export
) -> None:
    export((OLD, "4", "", "202410"))
    run_sync(service)
    export((OLD, "1.5", "-0.5", "202410"))
    run_sync(service)
    (mail,) = mails(service)
    assert mail.subject == f"[RESTATED] acme: costs of {OLD} have changed"
    assert "\nEUR: -3 (4 became 1), source_rewritten\n" in mail.text


def mails(service: Service) -> list[Notification]:
    with service.database.read() as tx:
        return notifications.newest(tx, "acme", limit=10)


def test_an_invoice_month_settles_and_closes(
    service: Service, export: Export, clock: FakeClock
) -> None:
    export((OLD, "1", "", "202410"), (YOUNG, "1", "", "202411"))
    run_sync(service)
    states = [item.state for item in reconcile.reconciliation(service, "acme", None)]
    assert states == [MonthState.SETTLING, MonthState.OPEN]
    clock.advance(days=27)
    states = [item.state for item in reconcile.reconciliation(service, "acme", None)]
    assert states == [MonthState.CLOSED, MonthState.SETTLING]
    export((OLD, "1", "", "202410"), name="late.csv")
    run_sync(service, day="2024-12-01")
    states = [item.state for item in reconcile.reconciliation(service, "acme", None)]
    assert states == [MonthState.SETTLING, MonthState.SETTLING]


def test_an_invoice_month_ends_where_the_providers_days_end(
    service: Service, export: Export, clock: FakeClock
) -> None:
    export((YOUNG, "1", "", "202411"))
    run_sync(service)
    states = []
    for hour in (7, 8):
        clock.advance(
            seconds=(datetime(2024, 12, 1, hour, tzinfo=UTC) - clock.now()).total_seconds()
        )
        states += [item.state for item in reconcile.reconciliation(service, "acme", None)]
    assert states == [MonthState.OPEN, MonthState.SETTLING]


def test_a_bill_says_how_fresh_and_how_complete_it_is(service: Service, export: Export) -> None:
    export((OLD, "1", "", "202410"), (YOUNG, "1", "", "202411"))
    run_sync(service)
    found = reconcile.bill(service, "acme", ALL)
    assert found.fresh_at is not None
    assert found.fresh_at.isoformat() == "2024-11-04T05:00:00+00:00"
    assert found.complete_to == date(2024, 11, 2)
    assert costs.newest_export_time(service, "acme") == found.fresh_at


def test_a_bill_is_not_complete_beyond_the_last_day_loaded(
    service: Service, export: Export, clock: FakeClock
) -> None:
    before = clock.now()
    export((OLD, "1", "", "202410"))
    clock.advance(seconds=1)
    run_sync(service)
    assert reconcile.bill(service, "acme", ALL).complete_to == date.fromisoformat(OLD)
    clock.advance(seconds=1)
    assert reconcile.bill(service, "acme", ALL, before).complete_to is None


def nested(folder: Path, name: str, *rows: Mapping[str, object]) -> None:
    """Rows of October that Parquet can tell and CSV cannot."""
    start = datetime(2024, 10, 1, 5, tzinfo=UTC)
    times = {"usage_start_time": start, "usage_end_time": start, "export_time": start}
    write_rows(folder / name, [export_row(**times, **row) for row in rows])


def test_an_empty_id_and_a_missing_one_are_the_same(
    service: Service, tenant: Onboarded, tmp_path: Path, clock: FakeClock
) -> None:
    grant_export(service, tmp_path / "nested" / "*.parquet", "acme", DETAILED)
    none, empty = {"project": None, "cost_type": None}, {"project": {"id": ""}, "cost_type": ""}
    nested(tmp_path / "nested", "a.parquet", none, empty)
    run_sync(service)
    before = clock.now()
    clock.advance(minutes=1)
    nested(tmp_path / "nested", "b.parquet", empty | {"cost": 8.0})
    run_sync(service)
    (group,) = costs.lines(service, "acme", replace(ALL, group_by=(Dimension.PROJECT,)))
    assert (group.group_id, group.rows, group.cost) == ("", 3, Decimal("10.5"))
    only = replace(ALL, filters={Dimension.PROJECT: ("",)})
    assert bill(service, only) == bill(service, ALL)
    (day,) = recall.summary_as_of(service, "acme", only, before).rows
    assert day[:4] == (date(2024, 10, 1), "EUR", 2, Decimal("2.5"))
    assert [item.is_equal for item in reconcile.reconciliation(service, "acme", None)] == [True]


def test_a_record_of_nothing_is_no_correction(
    service: Service, tenant: Onboarded, tmp_path: Path
) -> None:
    grant_export(service, tmp_path / "nested" / "*.parquet", "acme", DETAILED)
    nested(tmp_path / "nested", "a.parquet", {})
    run_sync(service)
    nested(tmp_path / "nested", "b.parquet", {"adjustment_info": {"id": None, "mode": None}})
    run_sync(service)
    nested(tmp_path / "nested", "c.parquet", {"adjustment_info": {"mode": "PARTIAL_CORRECTION"}})
    run_sync(service)
    assert [r.reason for r in recorded(service)] == [Reason.CORRECTION, Reason.LATE_ROW]
