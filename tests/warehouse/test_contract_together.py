"""What every warehouse must do with days that are staged and published in one act."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from convergence.errors import StepFailed, WarehouseError
from convergence.model.cancel import CancelToken
from convergence.model.money import MoneyKey, Total
from convergence.warehouse.staged import Staged, StagedTotals

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant

DAY, NEXT, THIRD = (date(2025, 10, day) for day in (1, 2, 4))
COUNT = "SELECT ingestion_date, COUNT(*) FROM billing_cost_daily GROUP BY 1 ORDER BY 1"
KEY = MoneyKey("202510", "regular", "EUR")
Rows = Callable[..., dict[str, Any]]
Deliver = Callable[..., str]
Record = Callable[[str], Any]


def of(make_row: Rows, day: date, *costs: float) -> list[dict[str, Any]]:
    start = datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)
    return [make_row(usage_start_time=start, cost=cost) for cost in costs]


def stage(tenant: "Tenant", *days: date, **changes: Any) -> Sequence[Staged]:  # noqa: ANN401 - of whatever type
    requests = [tenant.request(day, **changes) for day in days]
    return tenant.warehouse.stage_together(requests, CancelToken())


def test_days_are_proven_one_by_one_and_seen_all_at_once(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, make_record: Record
) -> None:
    deliver([*of(make_row, DAY, 1, 2), *of(make_row, NEXT, 4)])
    deliver([*of(make_row, NEXT, 8), *of(make_row, date(2025, 10, 3), 99)], name="b.parquet")
    days = DAY, NEXT, THIRD
    staged = stage(tenant, *days)
    totals = [tenant.totals(each) for each in staged]
    assert [each.key.day for each in staged] == [*days]
    assert tenant.rows(COUNT) == []
    no_credits = Decimal("-0.5")
    assert [each.loaded for each in totals] == [
        {KEY: Total(2, Decimal(3), no_credits)},
        {KEY: Total(2, Decimal(12), no_credits)},
        {},
    ]
    assert [each.source for each in totals] == [each.loaded for each in totals]
    records = [make_record(f"load-{day}") for day in days]
    tenant.warehouse.publish_together(list(zip(staged, records, strict=True)))
    tenant.warehouse.publish_together(list(zip(staged, records, strict=True)))
    assert tenant.rows(COUNT) == [(DAY, 2), (NEXT, 2)]
    assert all(tenant.warehouse.is_published("acme", f"load-{day}") for day in days)


def test_a_look_at_one_day_sees_those_that_were_staged_with_it(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([*of(make_row, DAY, 1, 2), *of(make_row, NEXT, 4)])
    staged = stage(tenant, DAY, NEXT)
    for each in staged:
        seen = tenant.warehouse.look(each, COUNT, CancelToken()).rows
        assert [*seen] == [(DAY, 2), (NEXT, 1)]


def test_days_that_are_discarded_leave_nothing(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, make_record: Record
) -> None:
    deliver([*of(make_row, DAY, 1), *of(make_row, NEXT, 2)])
    staged = stage(tenant, DAY, NEXT)
    for each in (*staged, *staged):
        tenant.warehouse.discard(each)
    assert tenant.rows(COUNT) == []
    records = [make_record("load-1"), make_record("load-2")]
    with pytest.raises(WarehouseError, match="nothing is staged"):
        tenant.warehouse.publish_together(list(zip(staged, records, strict=True)))


def test_a_day_staged_with_others_has_the_hash_it_has_alone(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([*of(make_row, DAY, 1, 2), *of(make_row, NEXT, 4)])
    first, second = stage(tenant, DAY, NEXT)
    together = [tenant.totals(first), tenant.totals(second)]
    tenant.warehouse.discard(first)
    alone = [tenant.load(day, load_id=str(day)) for day in (DAY, NEXT)]
    assert [each.content_hash for each in together] == [each.content_hash for each in alone]
    assert together == alone


def test_days_cannot_be_published_apart_from_one_another(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, make_record: Record
) -> None:
    deliver([*of(make_row, DAY, 1), *of(make_row, NEXT, 2)])
    first, _ = stage(tenant, DAY, NEXT)
    tenant.totals(first)
    with pytest.raises(WarehouseError, match="apart"):
        tenant.warehouse.publish_together([(first, make_record("load-1"))])
    assert tenant.rows(COUNT) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cost_type,", "cost_type, '{date}' AS x_price_json,"),
        ("WHERE", "WHERE cost > (SELECT AVG(cost) FROM `{source}`) AND"),
        ("DATE(usage_start_time) =", "cost_type = 'tax' OR DATE(usage_start_time) ="),
        ("'{date}'", "'{date}' LIMIT 5"),
        (" cost, ", " SUM(cost) OVER () AS cost, "),
    ],
)
def test_a_query_that_depends_on_the_day_elsewhere_too_is_refused(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, old: str, new: str
) -> None:
    deliver([*of(make_row, DAY, 1), *of(make_row, NEXT, 2)])
    sql = tenant.request().sql.replace(old, new, 1)
    assert sql != tenant.request().sql
    with pytest.raises(StepFailed, match="not days of one query"):
        stage(tenant, DAY, NEXT, sql=sql)


def test_days_that_have_rows_are_replaced_and_tell_what_they_were(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, make_record: Record
) -> None:
    deliver([*of(make_row, DAY, 1, 2), *of(make_row, NEXT, 4)])
    before = tenant.load(DAY), tenant.load(NEXT, load_id="load-2", run_id="run-2")
    deliver([*of(make_row, DAY, 1, 3), *of(make_row, NEXT, 4), *of(make_row, THIRD, 9)])
    days = DAY, NEXT, THIRD
    staged = stage(tenant, *days, with_changes=True)
    together = [tenant.totals(each) for each in staged]
    assert tenant.rows(COUNT) == [(DAY, 2), (NEXT, 1)]
    assert [each.previous_hash for each in together[:2]] == [each.content_hash for each in before]
    assert [each.is_unchanged for each in together] == [False, True, False]
    assert [[(c.old.cost, c.new.cost) for c in each.changes] for each in together] == [
        [(Decimal(3), Decimal(4))],
        [],
        [(Decimal(0), Decimal(9))],
    ]
    tenant.warehouse.discard(staged[0])
    assert together == [_totals_alone(tenant, day) for day in days]
    staged = stage(tenant, *days)
    for each in staged:
        tenant.totals(each)
    records = [make_record(f"again-{day}") for day in days]
    tenant.warehouse.publish_together(list(zip(staged, records, strict=True)))
    assert tenant.rows(COUNT) == [(DAY, 2), (NEXT, 1), (THIRD, 1)]
    assert tenant.rows("SELECT SUM(cost) FROM billing_cost_daily") == [(Decimal(17),)]


def _totals_alone(tenant: "Tenant", day: date) -> StagedTotals:
    staged = tenant.warehouse.stage(tenant.request(day, with_changes=True), CancelToken())
    totals = tenant.totals(staged)
    tenant.warehouse.discard(staged)
    return totals
