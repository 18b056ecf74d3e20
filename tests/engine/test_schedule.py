"""Schedules: each due moment starts one run, or is recorded; nobody holds up another."""

import itertools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from convergence.engine import schedule
from convergence.engine.arrange import add_schedule, change_schedule
from convergence.engine.execute import Executor
from convergence.engine.onboard import onboard
from convergence.engine.schedule import Outcome, run_due
from convergence.engine.service import Service
from convergence.errors import Invalid
from convergence.model.run import Run, RunFilter, Trigger
from convergence.model.schedule import Miss, Schedule, ScheduleRequest
from convergence.model.tenant import TenantStatus
from convergence.settings.fields import Settings
from convergence.store import fleet, notifications, runs, schedules, tenants
from convergence.store.database import WriteTx
from convergence.wiring import build
from tests.conftest import application, postgres_url
from tests.engine.conftest import Act
from tests.fakes import FakeClock

TEMPLATE = "test/engine/steps"
NIGHTLY = ScheduleRequest(template=TEMPLATE, cron="0 3 * * *")
BODY = """\
pipeline_id: "{tenant_id}-test-{kind}"
description: a test
variables: {kind: a}
steps:
  - {step_id: a, ps_type: test.act}
"""


BOTH = pytest.mark.parametrize(
    "service", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


@pytest.fixture
def service(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Service]:
    url = None
    if getattr(request, "param", "sqlite") == "postgres":
        url = request.getfixturevalue("database_url")
    built = build(Settings(home=tmp_path / "home", database_url=url and SecretStr(url)))
    built.clock = clock
    yield built
    built.close()


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    yield from postgres_url(request)


@pytest.fixture
def acme(service: Service, act: Act, tmp_path: Path) -> str:
    """A tenant with a template; it may have ten runs at once."""
    (tmp_path / "configs/test/engine/steps.yml").write_text(BODY)
    onboard(service, application("acme", plan="SCALE"))
    return "acme"


def all_runs(service: Service, tenant_id: str = "acme") -> list[Run]:
    with service.database.read() as tx:
        return runs.page(tx, tenant_id, RunFilter(), limit=1000, before=None)


def now_of(service: Service, schedule: Schedule) -> Schedule:
    with service.database.read() as tx:
        return schedules.get(tx, schedule.tenant_id, schedule.config_id)


def misses(service: Service, schedule: Schedule) -> list[Miss]:
    with service.database.read() as tx:
        return schedules.misses(tx, schedule.tenant_id, schedule.config_id, limit=100)


def told(service: Service, tenant_id: str = "acme") -> list[str]:
    with service.database.read() as tx:
        return [each.text for each in notifications.newest(tx, tenant_id, limit=100)]


def finish_all(service: Service, tenant_id: str = "acme") -> None:
    executor = Executor(service=service, worker="test")
    for run in all_runs(service, tenant_id):
        if run.is_live:
            executor.walk(tenant_id, run.run_id)


def limit(service: Service, tenant_id: str, **limits: int) -> None:
    with service.database.write() as tx:
        changed = replace(tenants.limits(tx, tenant_id), **limits)
        tenants.set_limits(tx, tenant_id, changed, now=service.clock.now())


@BOTH
def test_a_due_schedule_starts_one_run(service: Service, acme: str, clock: FakeClock) -> None:
    schedule = add_schedule(service, acme, NIGHTLY)
    assert schedule.next_run_time == datetime(2024, 11, 6, 3, tzinfo=UTC)
    assert run_due(service) == []
    clock.advance(hours=19)
    (fired,) = run_due(service)
    assert fired.outcome is Outcome.TRIGGERED
    assert run_due(service) == []
    (run,) = all_runs(service)
    assert (run.trigger, run.run_date) == (Trigger.SCHEDULE, date(2024, 11, 5))
    assert schedule.config_id in run.trigger_by
    after = now_of(service, schedule)
    assert after.next_run_time == datetime(2024, 11, 7, 3, tzinfo=UTC)
    assert (after.last_run_id, after.last_run_status) == (run.run_id, "PENDING")


def test_the_end_of_its_run_is_shown_by_the_schedule(
    service: Service, acme: str, clock: FakeClock
) -> None:
    schedule = add_schedule(service, acme, NIGHTLY)
    clock.advance(days=1)
    run_due(service)
    finish_all(service)
    assert now_of(service, schedule).last_run_status == "COMPLETED"


@BOTH
def test_what_waits_for_a_slot_starts_when_one_is_free(
    service: Service, acme: str, clock: FakeClock
) -> None:
    limit(service, acme, concurrent_limit=1)
    low = add_schedule(service, acme, replace(NIGHTLY, priority=9))
    high = add_schedule(service, acme, replace(NIGHTLY, priority=1, parameters={"kind": "b"}))
    clock.advance(days=1)
    assert [(f.config_id, f.outcome) for f in run_due(service)] == [
        (high.config_id, Outcome.TRIGGERED),
        (low.config_id, Outcome.WAITING),
    ]
    waiting = now_of(service, low)
    assert waiting.problem_code == "quota_exceeded.concurrent"
    with service.database.read() as tx:
        assert fleet.due_schedules(tx, now=clock.now(), limit=10) == []  # nothing is tried
    finish_all(service)
    assert [f.outcome for f in run_due(service)] == [Outcome.TRIGGERED]
    assert (now_of(service, low).waiting_since, misses(service, low)) == (None, [])


def test_a_day_that_waits_for_a_slot_over_the_next_day_is_not_missed(
    service: Service, acme: str, clock: FakeClock
) -> None:
    limit(service, acme, concurrent_limit=1)
    add_schedule(service, acme, replace(NIGHTLY, priority=1, parameters={"kind": "b"}))
    clock.advance(days=1)
    run_due(service)
    late = add_schedule(service, acme, replace(NIGHTLY, cron="0 9 * * *"))
    clock.advance(hours=2)
    assert [fired.outcome for fired in run_due(service)] == [Outcome.WAITING]
    clock.advance(days=1)
    finish_all(service)
    run_due(service)
    finish_all(service)
    while run_due(service):
        finish_all(service)
    dates = [run.run_date.day for run in all_runs(service) if run.parameters["kind"] == "a"]
    assert (sorted(dates), misses(service, late)) == ([5, 6], [])


def test_a_pass_ends_early_when_the_service_stops(
    service: Service, acme: str, clock: FakeClock
) -> None:
    for kind in ("a", "b"):
        add_schedule(service, acme, replace(NIGHTLY, parameters={"kind": kind}))
    clock.advance(days=1)
    assert len(run_due(service, is_over=lambda: len(all_runs(service)) == 1)) == 1
    assert len(run_due(service)) == 1


def test_a_tenant_without_slots_holds_up_no_other(
    service: Service, acme: str, clock: FakeClock
) -> None:
    limit(service, acme, concurrent_limit=0)
    onboard(service, application("other"))
    for kind in ("a", "b", "c"):
        add_schedule(service, acme, replace(NIGHTLY, parameters={"kind": kind}, priority=1))
    add_schedule(service, "other", NIGHTLY)
    clock.advance(days=1)
    outcomes = [fired.outcome for fired in run_due(service)]
    assert outcomes == [Outcome.WAITING, Outcome.TRIGGERED]
    assert len(all_runs(service, "other")) == 1


@pytest.mark.parametrize("name", ["daily_limit", "monthly_limit"])
def test_a_run_refused_for_the_day_or_month_is_missed_and_told(
    service: Service, acme: str, clock: FakeClock, name: str
) -> None:
    limit(service, acme, **{name: 0})
    schedule = add_schedule(service, acme, NIGHTLY)
    clock.advance(days=1)
    assert [fired.outcome for fired in run_due(service)] == [Outcome.MISSED]
    (miss,) = misses(service, schedule)
    assert miss.code == f"quota_exceeded.{name.removesuffix('_limit')}"
    assert "quota exceeded" in told(service)[0]
    assert "--date 2024-11-05" in told(service)[0]
    after = now_of(service, schedule)
    assert after.next_run_time == datetime(2024, 11, 7, 3, tzinfo=UTC)
    assert after.problem_code == miss.code


@BOTH
def test_of_days_that_nobody_was_there_the_latest_is_caught_up(
    service: Service, acme: str, clock: FakeClock
) -> None:
    schedule = add_schedule(service, acme, NIGHTLY)
    clock.advance(days=5)
    assert [fired.outcome for fired in run_due(service)] == [Outcome.TRIGGERED]
    assert run_due(service) == []
    (run,) = all_runs(service)
    assert run.run_date == date(2024, 11, 9)
    (miss,) = misses(service, schedule)
    assert (miss.count, miss.code) == (4, "nobody_there")
    assert "(4 times)" in told(service)[0]


def test_several_missed_days_are_caught_up_in_order(
    service: Service, acme: str, clock: FakeClock
) -> None:
    add_schedule(service, acme, replace(NIGHTLY, catch_up=3))
    clock.advance(days=5)
    dates = []
    while fired := run_due(service):
        dates += [one.run.run_date.day for one in fired if one.run]
    assert dates == [7, 8, 9]


def test_a_clock_that_jumps_a_day_and_back_doubles_nothing(
    service: Service, acme: str, clock: FakeClock
) -> None:
    add_schedule(service, acme, NIGHTLY)
    for jump in (19, 24, -24, 2, -48, 24, 24, 24, 24):
        clock.advance(hours=jump)
        run_due(service)
        finish_all(service)
    found = [run.run_date.day for run in all_runs(service)]
    assert sorted(found) == [5, 6, 7]


def test_a_suspended_tenant_runs_nothing_and_the_schedule_says_so(
    service: Service, acme: str, clock: FakeClock
) -> None:
    schedule = add_schedule(service, acme, NIGHTLY)
    with service.database.write() as tx:
        tenants.update(tx, acme, status=TenantStatus.SUSPENDED, now=clock.now())
    clock.advance(days=1)
    assert [fired.outcome for fired in run_due(service)] == [Outcome.MISSED]
    assert now_of(service, schedule).problem == "Tenant acme is SUSPENDED"
    assert told(service) == []


def test_a_template_that_is_gone_is_told_once_a_day(
    service: Service, acme: str, clock: FakeClock, tmp_path: Path
) -> None:
    schedule = add_schedule(service, acme, replace(NIGHTLY, cron="0 * * * *"))
    (tmp_path / "configs/test/engine/steps.yml").unlink()
    for _ in range(3):
        clock.advance(hours=1)
        assert [fired.outcome for fired in run_due(service)] == [Outcome.MISSED]
    assert now_of(service, schedule).problem_code == "template_not_found"
    assert len(misses(service, schedule)) == 3
    assert len(told(service)) == 1


def test_what_breaks_is_put_off_and_holds_up_nobody(
    service: Service, acme: str, clock: FakeClock
) -> None:
    broken = add_schedule(service, acme, replace(NIGHTLY, priority=1))
    with service.database.write() as tx:
        schedules.advance(tx, replace(broken, timezone="Mars/Base"))
    add_schedule(service, acme, replace(NIGHTLY, parameters={"kind": "b"}))
    clock.advance(days=1)
    assert [f.outcome for f in run_due(service)] == [Outcome.PUT_OFF, Outcome.TRIGGERED]
    assert run_due(service) == []
    assert "Mars/Base" in (now_of(service, broken).problem or "")
    clock.advance(minutes=1)
    assert [fired.outcome for fired in run_due(service)] == [Outcome.PUT_OFF]


def test_a_paused_schedule_runs_nothing_and_goes_on_from_then(
    service: Service, acme: str, clock: FakeClock
) -> None:
    schedule = add_schedule(service, acme, NIGHTLY)
    change_schedule(service, acme, schedule.config_id, {"is_active": False})
    clock.advance(days=3)
    assert run_due(service) == []
    resumed = change_schedule(service, acme, schedule.config_id, {"is_active": True})
    assert resumed.next_run_time == datetime(2024, 11, 9, 3, tzinfo=UTC)
    assert misses(service, schedule) == []


@BOTH
def test_the_same_schedule_is_refused(service: Service, acme: str) -> None:
    add_schedule(service, acme, NIGHTLY)
    other = add_schedule(service, acme, replace(NIGHTLY, cron="0 4 * * *"))
    with pytest.raises(Invalid) as refused:
        add_schedule(service, acme, NIGHTLY)
    assert refused.value.code == "schedule_exists"
    with pytest.raises(Invalid) as refused:
        change_schedule(service, acme, other.config_id, {"cron": "0  3 * * *"})
    assert refused.value.code == "schedule_exists"


def test_tenants_due_at_once_are_admitted_in_one_pass(
    service: Service, acme: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "BATCH", 7)
    for number in range(20):
        onboard_quickly(service, f"tenant_{number:02}")
    add_schedule(service, acme, replace(NIGHTLY, cron="0 * * * *", catch_up=9, priority=1))
    clock.advance(days=1)
    fired = run_due(service)
    assert len(fired) == 21
    assert {one.outcome for one in fired} == {Outcome.TRIGGERED}


def onboard_quickly(service: Service, tenant_id: str) -> None:
    """Without a dataset, which nothing here asks for."""
    with service.database.write() as tx:
        like = tenants.get(tx, "acme")
        tenant = replace(like, tenant_id=tenant_id, dataset=tenant_id)
        tenants.create(tx, tenant, tenants.limits(tx, "acme"), now=service.clock.now())
    add_schedule(service, tenant_id, NIGHTLY)


class KilledError(BaseException):
    """As a process that ends: nothing catches it."""


def check_two_schedulers(
    service: Service, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, *, days: int
) -> None:
    """Two loops side by side, of which now and then one dies before its commit: each moment of
    each schedule is handled once.
    """
    limit(service, "acme", daily_limit=10**6, monthly_limit=10**6, concurrent_limit=10**6)
    asked = [replace(NIGHTLY, parameters={"kind": kind}) for kind in "abcd"]
    ids = [add_schedule(service, "acme", each).config_id for each in asked]
    advance, number = schedules.advance, itertools.count(1)
    handled: list[tuple[str, datetime | None]] = []

    def dying(tx: WriteTx, schedule: Schedule) -> None:
        advance(tx, schedule)
        if next(number) % 7 == 0:
            raise KilledError

    def loop() -> None:
        with suppress(KilledError):
            while fired := run_due(service, limit=1):
                handled.extend((one.config_id, one.due) for one in fired)

    monkeypatch.setattr(schedules, "advance", dying)
    first = clock.now().date() + timedelta(days=1)
    for _ in range(days):
        clock.advance(days=1)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: loop(), range(2)))
        loop()
    loop()
    moments = [datetime.combine(first + timedelta(days=n), time(3), UTC) for n in range(days)]
    assert sorted(handled) == sorted((id_, moment) for id_ in ids for moment in moments)
    dates = Counter(run.run_date for run in every_run(service))
    assert dates == {moment.date() - timedelta(days=1): 4 for moment in moments}


def every_run(service: Service) -> list[Run]:
    with service.database.read() as tx:
        return runs.page(tx, "acme", RunFilter(), limit=100_000, before=None)


@BOTH
def test_two_schedulers_that_die_miss_and_double_nothing(
    service: Service, acme: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_two_schedulers(service, clock, monkeypatch, days=25)


@BOTH
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_schedulers_that_die_miss_and_double_nothing_in_a_thousand_days(
    service: Service, acme: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_two_schedulers(service, clock, monkeypatch, days=1000)
