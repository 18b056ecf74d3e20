"""What every warehouse must do with a load, whatever it is built on: over one fixture."""

import re
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from convergence.errors import Cancelled, StepFailed, WarehouseError
from convergence.model.cancel import CancelToken
from convergence.model.load import LoadKey
from convergence.model.money import MoneyKey, Total, differences
from convergence.model.table import Column, TableSchema
from convergence.warehouse.staged import WriteMode
from tests.warehouse.conftest import ADAPTERS

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant

pytestmark = pytest.mark.parametrize("adapter", ADAPTERS, indirect=True)

DAY = date(2025, 10, 1)
COUNT = "SELECT COUNT(*) FROM billing_cost_daily"
KEY = MoneyKey("202510", "regular", "EUR")
Rows = Callable[..., dict[str, Any]]
Deliver = Callable[..., str]
Record = Callable[[str], Any]


def test_staged_rows_are_seen_only_after_publish(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, make_record: Record
) -> None:
    deliver([make_row(), make_row()])
    staged = tenant.stage()
    totals = tenant.totals(staged)
    assert tenant.rows(COUNT) == [(0,)]
    assert not tenant.warehouse.is_published("acme", "load-0")
    tenant.warehouse.publish(staged, make_record("load-1"))
    assert tenant.rows(COUNT) == [(2,)]
    assert tenant.warehouse.is_visible("acme", "load-1")
    assert tenant.warehouse.is_published("acme", "load-1")
    assert totals.loaded == totals.source == {KEY: Total(2, Decimal("2.5"), Decimal("-0.5"))}


def test_a_look_at_staged_rows_takes_what_differs_each_time_as_parameters(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row(cost=1), make_row(cost=2)])
    staged = tenant.stage()
    asked = (
        "SELECT COUNT(*), COUNTIF(usage_start_time > CAST(@moment AS TIMESTAMP)) "
        "FROM billing_cost_daily WHERE ingestion_date = CAST(@day AS DATE) AND x_source = @source"
    )
    early, late = (datetime(year, 1, 1, tzinfo=UTC) for year in (2025, 2026))
    seen = [
        tenant.warehouse.look(
            staged, asked, CancelToken(), {"day": day, "moment": moment, "source": source}
        ).rows
        for day, moment, source in (
            (DAY, early, staged.key.source),
            (DAY, late, staged.key.source),
            (DAY, late, "it's {other}"),
            (date(2025, 10, 2), late, staged.key.source),
        )
    ]
    tenant.warehouse.discard(staged)
    assert seen == [[(2, 2)], [(2, 0)], [(0, 0)], [(0, 0)]]


def test_discarded_rows_are_gone_and_the_old_ones_stay(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, make_record: Record
) -> None:
    deliver([make_row()])
    tenant.load()
    deliver([make_row(), make_row()])
    staged = tenant.stage()
    tenant.warehouse.discard(staged)
    tenant.warehouse.discard(staged)
    assert tenant.rows(COUNT) == [(1,)]
    with pytest.raises(WarehouseError, match="nothing is staged"):
        tenant.warehouse.publish(staged, make_record("load-2"))


def test_publish_may_be_repeated_and_discard_after_it_does_nothing(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, make_record: Record
) -> None:
    deliver([make_row()])
    staged = tenant.stage()
    tenant.totals(staged)
    tenant.warehouse.publish(staged, make_record("load-1"))
    tenant.warehouse.publish(staged, make_record("load-1"))
    tenant.warehouse.discard(staged)
    assert tenant.rows(COUNT) == [(1,)]
    assert tenant.rows("SELECT load_id, row_count FROM x_meta_loads") == [("load-1", 1)]


def test_a_day_loaded_again_tells_what_it_replaced(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row()])
    first = tenant.load()
    again = tenant.load(load_id="load-2", run_id="run-2")
    assert again.content_hash == first.content_hash
    deliver([make_row(cost=3.0)])
    third = tenant.load(load_id="load-3", run_id="run-3")
    assert third.content_hash != first.content_hash
    assert third.previous == first.loaded
    assert third.previous_rows == 1
    assert tenant.rows("SELECT cost, x_run_id FROM billing_cost_daily") == [(Decimal(3), "run-3")]


def test_the_hash_does_not_know_the_order_of_rows(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    rows = [make_row(cost=float(number)) for number in range(50)]
    deliver(rows)
    first = tenant.load()
    deliver(rows[::-1])
    assert tenant.load(load_id="load-2").content_hash == first.content_hash


def test_another_source_and_another_day_stay_untouched(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    next_day = datetime(2025, 10, 2, tzinfo=UTC)
    deliver([make_row(), make_row(usage_start_time=next_day)])
    tenant.load()
    tenant.load(date(2025, 10, 2), load_id="load-2")
    other = LoadKey(table="billing_cost_daily", day=DAY, source="other")
    stamps = dict(tenant.request().stamps) | {"x_source": "other"}
    tenant.load(load_id="load-3", key=other, stamps=stamps)
    tenant.load(load_id="load-4")
    assert tenant.rows(COUNT) == [(3,)]


def test_readers_see_the_old_rows_during_a_load(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, make_record: Record
) -> None:
    deliver([make_row()])
    tenant.load()
    deliver([make_row(cost=9.0)])
    staged = tenant.stage()
    tenant.totals(staged)
    assert tenant.rows("SELECT cost FROM billing_cost_daily") == [(Decimal("1.25"),)]
    tenant.warehouse.publish(staged, make_record("load-2"))
    assert tenant.rows("SELECT cost FROM billing_cost_daily") == [(Decimal(9),)]


def test_days_load_side_by_side_and_one_day_in_turn(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    moments = [datetime(2025, 10, day, 5, tzinfo=UTC) for day in (1, 2, 3)]
    deliver([make_row(usage_start_time=moment) for moment in moments])
    jobs = [
        threading.Thread(
            target=tenant.load, args=(moment.date(),), kwargs={"load_id": f"{moment}{number}"}
        )
        for moment in moments
        for number in range(3)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert tenant.rows(COUNT) == [(3,)]
    assert tenant.rows("SELECT COUNT(*) FROM x_meta_loads") == [(9,)]


def test_a_tripped_token_ends_a_stage_and_leaves_the_old_rows(
    tenant: "Tenant", make_row: Rows, deliver: Deliver, request: pytest.FixtureRequest
) -> None:
    deliver([make_row()])
    tenant.load()
    slow = request.getfixturevalue("endless")
    cancel = CancelToken()
    timer = threading.Timer(0.3, cancel.trip, (Cancelled("enough", code="cancelled"),))
    timer.start()
    asked = tenant.request(sql=slow, names={}, schema=None, table="slow")
    with pytest.raises(Cancelled, match="enough"):
        tenant.warehouse.stage(asked, cancel)
    assert tenant.rows(COUNT) == [(1,)]


def test_rows_on_another_day_are_not_published(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row(), make_row()])
    sql = tenant.request().sql.replace(
        "usage_start_time, usage_end_time",
        "TIMESTAMP_ADD(usage_start_time, INTERVAL 1 DAY) AS usage_start_time, usage_end_time",
    )
    staged = tenant.stage(sql=sql)
    with pytest.raises(StepFailed, match="2 on 2025-10-02") as caught:
        tenant.totals(staged)
    assert caught.value.code == "other_day"
    assert tenant.rows(COUNT) == [(0,)]


def test_null_in_a_required_column_is_named(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row(), make_row(cost=None)])
    with pytest.raises(
        StepFailed, match=r"cost is NULL in 1 row: .*(project-1|file_row_number 1)$"
    ):
        tenant.load()
    assert tenant.rows(COUNT) == [(0,)]


def test_the_rows_of_a_day_are_told_by_what_finds_them(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    later = datetime(2025, 10, 2, 5, tzinfo=UTC)
    unit = deliver([make_row(), make_row(usage_start_time=later), make_row()])
    (source,) = tenant.scope.sources
    ask = partial(tenant.warehouse.rows_of_day, tenant.dataset, source, unit, cancel=CancelToken())
    keys = "usage 2025-10-02T05:00:00+00:00, exported 2025-10-02T03:04:05+00:00, service 6F81-"
    assert re.search(f"in 1 row: (file_row_number 1$|{re.escape(keys)})", ask(day=later.date()))
    assert ask(day=date(2025, 10, 9)) == ""


def test_a_query_that_loses_rows_is_seen_in_the_totals(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row(), make_row(currency="USD")])
    totals = tenant.totals(tenant.stage(sql=tenant.request().sql + " AND currency = 'EUR'"))
    (difference,) = differences(totals.loaded, totals.source or {})
    assert difference == (
        "202510 x regular x USD: loaded 0 rows, cost 0, credits 0, "
        "source 1 rows, cost 1.250000000, credits -0.250000000"
    )


def test_a_column_that_the_table_lacks_is_named(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row()])
    sql = tenant.request().sql.replace("cost_type,", "cost_type AS kind_of_cost,")
    with pytest.raises(StepFailed, match="kind_of_cost") as caught:
        tenant.stage(sql=sql)
    assert caught.value.code == "unknown_column"


def test_the_state_names_the_files_that_held_rows(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    late = datetime(2025, 10, 9, 1, 2, 3, tzinfo=UTC)
    one = deliver([make_row(), make_row(export_time=late)], "one.parquet")
    two = deliver([make_row(usage_start_time=late)], "two.parquet")
    totals = tenant.load()
    assert totals.state.max_export_time == late
    assert [(file.path, file.rows) for file in totals.state.files] == [(str(one), 2)]
    assert totals.matched == {str(one), str(two)}


def test_no_file_gives_no_rows_and_says_so(tenant: "Tenant") -> None:
    totals = tenant.load()
    assert (totals.rows, totals.source, totals.matched) == (0, {}, frozenset())


def test_a_source_of_which_nothing_may_be_seen_need_not_be_there(tenant: "Tenant") -> None:
    tenant.narrowing = {"billing_account_ids": ("none",)}
    (source,) = tenant.scope.sources
    assert tenant.warehouse.files_of(source) == ()
    assert tenant.warehouse.survey("acme", source, (), {}, CancelToken()) == ()
    totals = tenant.load()
    assert (totals.rows, totals.loaded, totals.source, totals.state.files) == (0, {}, {}, ())


def test_the_ingestion_date_is_the_run_date_whatever_the_query_says(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row()])
    sql = tenant.request().sql.replace("cost_type,", "cost_type, CURRENT_DATE() AS ingestion_date,")
    tenant.load(sql=sql)
    assert tenant.rows("SELECT ingestion_date FROM billing_cost_daily") == [(DAY,)]


def test_a_sample_holds_the_first_rows_only(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row() for _ in range(10)])
    assert tenant.load(limit=3).rows == 3


def test_append_replaces_only_the_rows_of_its_own_run(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row()])
    sql = "SELECT cost, DATE(usage_start_time) AS day FROM `{source}`"
    changes: dict[str, Any] = {
        "sql": sql,
        "schema": None,
        "table": "costs",
        "mode": WriteMode.APPEND,
    }
    for number, run_id in enumerate(("run-1", "run-2", "run-2")):
        tenant.load(run_id=run_id, load_id=f"load-{number}", **changes)
    assert tenant.rows("SELECT x_run_id, COUNT(*) FROM costs GROUP BY 1 ORDER BY 1") == [
        ("run-1", 1),
        ("run-2", 1),
    ]


def test_overwrite_replaces_all_days_of_the_source(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row()])
    sql = "SELECT SUM(cost) AS total FROM `{source}`"
    for day in (DAY, date(2025, 10, 2)):
        changes: dict[str, Any] = {"schema": None, "table": "sums", "mode": WriteMode.OVERWRITE}
        tenant.load(day, load_id=f"load-{day}", sql=sql, **changes)
    assert tenant.rows("SELECT total, ingestion_date FROM sums") == [
        (Decimal("1.25"), date(2025, 10, 2))
    ]


def test_merge_replaces_by_key_and_refuses_a_key_twice(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row(), make_row(cost_type="tax")])
    sql = "SELECT cost_type, SUM(cost) AS total FROM `{source}` GROUP BY 1"
    changes: dict[str, Any] = {"schema": None, "table": "by_type", "mode": WriteMode.MERGE}
    tenant.load(sql=sql, merge_keys=("cost_type",), **changes)
    deliver([make_row(cost=5.0)])
    again = tenant.load(
        sql=sql, merge_keys=("cost_type",), load_id="load-2", run_id="run-2", **changes
    )
    assert again.previous_rows == 1
    assert tenant.rows("SELECT cost_type, total FROM by_type ORDER BY 1") == [
        ("regular", Decimal(5)),
        ("tax", Decimal("1.25")),
    ]
    deliver([make_row(), make_row()])
    with pytest.raises(StepFailed, match="several rows for one key"):
        tenant.load(
            sql="SELECT cost_type, cost AS total FROM `{source}`",
            merge_keys=("cost_type",),
            **changes,
        )


def test_a_float_becomes_money_exactly_on_its_way_into_a_table(tenant: "Tenant") -> None:
    schema = TableSchema(
        name="amounts", columns=(Column(name="amount", type="NUMERIC"),), partition_by=None
    )
    tenant.load(
        sql="SELECT CAST('98765432.1' AS FLOAT64) AS amount",
        schema=schema,
        table="amounts",
        mode=WriteMode.OVERWRITE,
    )
    assert tenant.rows("SELECT amount FROM amounts") == [(Decimal("98765432.099999994"),)]
