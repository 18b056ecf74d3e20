import dataclasses
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convergence.errors import QuotaExceeded
from convergence.model.quota import Use, check_quota
from convergence.model.run import Run, RunFilter, Status
from convergence.model.tenant import PLAN_LIMITS, Limits, Plan
from convergence.model.usage import UsageRow
from convergence.store import runs, tables, tenants, usage
from convergence.store.database import Database, WriteTx
from tests.store.conftest import DAY, NOW, add_tenant, make_run

LIMITS = PLAN_LIMITS[Plan.SCALE]
COLUMNS = [
    "usage_id",
    "tenant_id",
    "usage_date",
    "pipelines_run_today",
    "pipelines_succeeded_today",
    "pipelines_failed_today",
    "pipelines_cancelled_today",
    "pipelines_run_month",
    "concurrent_pipelines_running",
    "max_concurrent_reached",
    "daily_limit",
    "monthly_limit",
    "concurrent_limit",
    "quota_exceeded",
    "quota_warning_sent",
    "quota_exceeded_at",
    "total_api_calls_today",
    "total_storage_used_gb",
    "last_updated",
    "last_pipeline_started_at",
    "last_pipeline_completed_at",
    "created_at",
]


def admit(tx: WriteTx, run_id: str, now: datetime = NOW, limits: Limits = LIMITS) -> None:
    tenants.lock(tx, "acme")
    before = usage.use(tx, "acme", now.date())
    check_quota(limits, before)
    runs.insert(tx, make_run(run_id, created_at=now, parameter_hash=run_id))
    usage.record_admission(tx, "acme", before, limits, now=now)


def finish(tx: WriteTx, run: Run, status: Status, now: datetime = NOW) -> None:
    assert runs.finish(tx, "acme", run.run_id, attempt=run.attempt, status=status, now=now)
    usage.record_finish(tx, "acme", run.created_at.date(), status, now=now)


def row(tx: WriteTx, day: date = DAY) -> UsageRow:
    found = usage.row(tx, "acme", day)
    assert found is not None
    return found


def test_the_table_and_the_row_have_the_22_columns_of_the_source_in_order() -> None:
    assert list(tables.tenant_usage_quotas.columns.keys()) == COLUMNS
    assert [field.name for field in dataclasses.fields(UsageRow)] == COLUMNS


def test_the_defaults_and_nulls_are_those_of_the_source(tx: WriteTx) -> None:
    required = {
        "usage_id": "u",
        "tenant_id": "acme",
        "usage_date": DAY,
        "daily_limit": 6,
    }
    tx.connection.execute(sa.insert(tables.tenant_usage_quotas).values(**required))
    made = row(tx)
    assert (made.concurrent_limit, made.monthly_limit) == (3, None)
    assert (made.quota_exceeded, made.quota_warning_sent) == (False, False)
    assert (made.total_storage_used_gb, made.total_api_calls_today) == (Decimal("0.00"), 0)
    assert made.created_at.tzinfo is UTC
    nullable = {column.name for column in tables.tenant_usage_quotas.columns if column.nullable}
    numbers = {7, 10, 12, 13, 14, 15, 16, 17, 18, 20, 21}
    assert nullable == {COLUMNS[number - 1] for number in numbers}


def test_a_day_without_runs_has_no_row_until_it_is_asked_for(tx: WriteTx) -> None:
    assert usage.row(tx, "acme", DAY) is None
    assert usage.use(tx, "acme", DAY) == Use(day=DAY, today=0, month=0, live=0)
    usage.ensure_day(tx, "acme", DAY, LIMITS, now=NOW)
    assert row(tx).usage_id == "acme_20241102"
    assert (row(tx).daily_limit, row(tx).created_at) == (100, NOW)


def test_ensuring_a_day_changes_nothing_that_is_there(tx: WriteTx) -> None:
    admit(tx, "r1")
    before = row(tx)
    usage.ensure_day(tx, "acme", DAY, PLAN_LIMITS[Plan.STARTER], now=NOW + timedelta(hours=1))
    assert row(tx) == before


def test_an_admission_counts_on_its_day_and_month(tx: WriteTx) -> None:
    admit(tx, "r1", NOW - timedelta(days=1))
    admit(tx, "r2")
    assert usage.use(tx, "acme", DAY) == Use(day=DAY, today=1, month=2, live=2)
    today = row(tx)
    assert (today.pipelines_run_today, today.pipelines_run_month) == (1, 2)
    assert (today.concurrent_pipelines_running, today.max_concurrent_reached) == (2, 2)
    assert today.last_pipeline_started_at == NOW
    next_month = NOW + timedelta(days=30)
    admit(tx, "r3", next_month)
    assert row(tx, next_month.date()).pipelines_run_month == 1


def test_a_run_counts_on_the_day_it_was_admitted_also_across_midnight(tx: WriteTx) -> None:
    admit(tx, "r1")
    tomorrow = NOW + timedelta(days=1)
    usage.ensure_day(tx, "acme", tomorrow.date(), LIMITS, now=tomorrow)
    assert row(tx, tomorrow.date()).concurrent_pipelines_running == 1
    finish(tx, runs.get(tx, "acme", "r1"), Status.CANCELLED, tomorrow)
    assert (row(tx).pipelines_cancelled_today, row(tx).last_pipeline_completed_at) == (1, tomorrow)
    later = row(tx, tomorrow.date())
    assert (later.pipelines_cancelled_today, later.concurrent_pipelines_running) == (0, 0)
    assert row(tx).concurrent_pipelines_running == 0


def test_a_wrong_number_of_slots_is_repaired_by_the_next_finish(tx: WriteTx) -> None:
    admit(tx, "r1")
    damage = sa.update(tables.tenant_usage_quotas).values(concurrent_pipelines_running=40)
    tx.connection.execute(damage)
    finish(tx, runs.get(tx, "acme", "r1"), Status.FAILED)
    assert row(tx).concurrent_pipelines_running == 0


def test_the_first_refusal_of_a_day_is_kept(tx: WriteTx) -> None:
    usage.record_refusal(tx, "acme", DAY, now=NOW)
    usage.record_refusal(tx, "acme", DAY, now=NOW + timedelta(hours=1))
    assert (row(tx).quota_exceeded, row(tx).quota_exceeded_at) == (True, NOW)


def test_one_caller_a_day_shall_warn(tx: WriteTx) -> None:
    admit(tx, "r1")
    assert [usage.claim_warning(tx, "acme", DAY, now=NOW) for _ in range(3)] == [True, False, False]
    assert row(tx).quota_warning_sent
    assert not usage.claim_warning(tx, "other", DAY, now=NOW)


def test_calls_add_up_and_storage_is_the_last_measure(tx: WriteTx) -> None:
    for count, gigabytes in ((3, "1.005"), (4, "2.5")):
        usage.add_api_calls(tx, "acme", DAY, count, now=NOW)
        usage.set_storage(tx, "acme", DAY, Decimal(gigabytes), now=NOW)
    assert row(tx).total_api_calls_today == 7
    assert row(tx).total_storage_used_gb == Decimal("2.50")
    assert usage.row(tx, "other", DAY) is None


ENDS = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)
acts = st.lists(
    st.tuples(st.sampled_from(["admit", "admit", "finish", "wait"]), st.integers(0, 9)), max_size=40
)
SMALL = Limits(
    daily_limit=6, monthly_limit=10, concurrent_limit=3, max_team_members=1, max_providers=1
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(acts=acts)
def test_usage_says_what_the_runs_say(database: Database, acts: list[tuple[str, int]]) -> None:
    now, refused = datetime.combine(date(2024, 11, 29), time(20), UTC), set[date]()
    with database.write() as tx:
        add_tenant(tx, "acme")
        for number, (act, choice) in enumerate(acts):
            if act == "wait":
                now += timedelta(hours=choice)
            elif act == "admit":
                try:
                    admit(tx, f"r{number}", now, SMALL)
                except QuotaExceeded:
                    usage.record_refusal(tx, "acme", now.date(), now=now)
                    refused.add(now.date())
            elif live := [run for run in _all_runs(tx) if run.is_live]:
                run = live[choice % len(live)]
                if choice % 2:
                    run = runs.claim(tx, "acme", run.run_id, worker="w", now=now) or run
                end = ENDS[choice % 3] if choice % 2 else Status.FAILED
                finish(tx, run, end, now)
            _check(tx, now.date(), refused)
        tx.connection.rollback()


def _all_runs(tx: WriteTx) -> list[Run]:
    return runs.page(tx, "acme", RunFilter(), limit=1000, before=None)


def _check(tx: WriteTx, today: date, refused: set[date]) -> None:
    made = _all_runs(tx)
    live = sum(run.is_live for run in made)
    assert live <= SMALL.concurrent_limit
    for day in {run.created_at.date() for run in made} | refused:
        of_day = [run.status for run in made if run.created_at.date() == day]
        found = row(tx, day)
        assert len(of_day) == found.pipelines_run_today <= SMALL.daily_limit
        assert of_day.count(Status.COMPLETED) == found.pipelines_succeeded_today
        assert of_day.count(Status.FAILED) == found.pipelines_failed_today
        assert of_day.count(Status.CANCELLED) == found.pipelines_cancelled_today
        assert found.quota_exceeded == (day in refused)
        assert found.concurrent_pipelines_running <= max(live, found.max_concurrent_reached)
        if day == today or live == 0:
            assert found.concurrent_pipelines_running == live
        same_month = [run for run in made if f"{run.created_at:%Y%m}" == f"{day:%Y%m}"]
        assert len(same_month) == usage.use(tx, "acme", day).month <= SMALL.monthly_limit
