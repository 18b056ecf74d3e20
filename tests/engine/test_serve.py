"""A started service: runs pass from start to start, and end whatever breaks."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from convergence.engine import costs, serve, work
from convergence.engine import workers as engine_workers
from convergence.engine.arrange import add_schedule
from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import Onboarded, onboard
from convergence.engine.serve import Serving
from convergence.engine.service import Service
from convergence.engine.work import Worker
from convergence.engine.workers import LEASE
from convergence.errors import Unavailable
from convergence.model.run import LaunchRequest, Run, Status
from convergence.model.schedule import ScheduleRequest
from convergence.outside.clock import SystemClock
from convergence.settings.fields import Settings
from convergence.store import fleet, runs, schedules, workers
from convergence.warehouse.base import Upsert
from convergence.wiring import build
from tests.conftest import HEADER, application, export_line, grant_export, postgres_url
from tests.engine.conftest import Act, now, wait_for, wait_for_diary

Pend = Callable[..., Run]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "SWEEP_SECONDS", 0.2)
    monkeypatch.setattr(serve, "PACE_SECONDS", 0.1)
    monkeypatch.setattr(serve, "DRAIN_SECONDS", 0)


@pytest.fixture
def start(service: Service, act: Act) -> Iterator[Callable[[], Serving]]:
    """Start a worker on the home, as each `cdp serve` does, with the steps of the test."""
    started = []

    def start() -> Serving:
        again = build(Settings(home=service.config.home))
        again.clock = SystemClock()
        again.step_types = {**service.step_types, "test.act": act}
        again.library = service.library
        started.append(serve.start(again, with_worker=True))
        return started[-1]

    yield start
    for serving in started:
        serving.stop()


@pytest.mark.kills
def test_a_run_under_way_at_a_stop_is_ended_by_the_next_start(
    service: Service, pend: Pend, act: Act, start: Callable[[], Serving]
) -> None:
    run = pend(
        "step_id: a, ps_type: test.act, note: once", "step_id: b, ps_type: test.act, act: sleep"
    )
    first = start()
    wait_for(service, run, Status.RUNNING)
    wait_for_diary(act, 2)
    first.stop()
    assert now(service, run).status is Status.RUNNING
    act.is_awake = True
    start()
    ended = wait_for(service, run, Status.COMPLETED, Status.FAILED)
    assert (ended.status, ended.attempt) == (Status.COMPLETED, 2)
    assert act.diary == ["once", "sleep", "sleep"]


@pytest.mark.kills
def test_a_stop_does_not_wait_for_a_step_that_waits_itself(
    service: Service,
    pend: Pend,
    act: Act,
    start: Callable[[], Serving],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would take longer than this test may."""
    monkeypatch.setattr(serve, "DRAIN_SECONDS", 600)
    retry = "retry: {max_attempts: 2, backoff_seconds: 500}"
    run = pend(f"step_id: a, ps_type: test.act, act: stumble, {retry}")
    serving = start()
    wait_for_diary(act, 1)
    serving.stop()
    assert now(service, run).status is Status.RUNNING
    act.diary += ["two", "three"]
    start()
    assert wait_for(service, run, Status.COMPLETED, Status.FAILED).status is Status.COMPLETED


@pytest.mark.kills
def test_a_store_that_fails_at_the_end_of_a_run_delays_it_alone(
    service: Service, pend: Pend, start: Callable[[], Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = runs.finish
    failures: list[str] = []

    def failing(*arguments: object, **named: object) -> Run | None:
        if len(failures) < 2:
            failures.append("full")
            raise Unavailable("the disk is full", code="store_unavailable")
        return finish(*arguments, **named)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(runs, "finish", failing)
    run = pend("step_id: a, ps_type: test.act")
    start()
    ended = wait_for(service, run, Status.COMPLETED, Status.FAILED)
    assert (ended.status, ended.attempt, len(failures)) == (Status.COMPLETED, 1, 2)


@pytest.mark.kills
def test_a_run_that_a_command_left_is_ended_by_a_server(
    service: Service, pend: Pend, start: Callable[[], Serving]
) -> None:
    left = pend("step_id: a, ps_type: test.act")
    Executor(service=service, worker="cdp-run").begin("acme", left.run_id)
    start()
    assert wait_for(service, left, Status.COMPLETED).attempt == 2


@pytest.mark.kills
def test_a_run_that_a_command_ended_is_not_run_again(
    service: Service, pend: Pend, act: Act, start: Callable[[], Serving]
) -> None:
    done = pend("step_id: a, ps_type: test.act, note: first")
    Executor(service=service, worker="cdp-run").walk("acme", done.run_id)
    later = pend("step_id: a, ps_type: test.act, note: second")
    start()
    wait_for(service, later, Status.COMPLETED)
    assert act.diary == ["first", "second"]


@pytest.mark.kills
def test_many_runs_at_once_all_end(
    service: Service, pend: Pend, act: Act, start: Callable[[], Serving]
) -> None:
    steps = [f"step_id: s{n}, ps_type: test.act, depends_on: []" for n in range(6)]
    started = [pend(*steps, head=f'variables: {{n: "{number}"}}') for number in range(10)]
    start()
    ended = [wait_for(service, run, Status.COMPLETED, Status.FAILED) for run in started]
    assert {(run.status, run.attempt) for run in ended} == {(Status.COMPLETED, 1)}
    assert len(act.diary) == 60


@pytest.mark.kills
def test_the_queue_is_looked_into_more_often_while_runs_wait(
    service: Service, pend: Pend, act: Act, start: Callable[[], Serving]
) -> None:
    step = "step_id: a, ps_type: test.act, act: sleep"
    for number in range(service.config.worker_concurrency + 1):
        pend(step, head=f'variables: {{n: "{number}"}}')
    start()
    _wait_for_pace(service, work.BUSY_POLL_SECONDS)
    act.is_awake = True
    _wait_for_pace(service, work.POLL_SECONDS)


@pytest.mark.kills
def test_a_worker_starts_what_is_due(
    service: Service, pend: Pend, start: Callable[[], Serving]
) -> None:
    """By the worker's clock the schedule is long due: the latest day is caught up."""
    pend("step_id: a, ps_type: test.act")
    wanted = ScheduleRequest(template="test/engine/steps", cron="0 3 * * *")
    found = schedule = add_schedule(service, "acme", wanted)
    start()
    for _ in range(400):
        with service.database.read() as tx:
            found = schedules.get(tx, "acme", schedule.config_id)
        if found.last_run_status == Status.COMPLETED:
            break
        time.sleep(0.1)
    assert found.last_run_status == Status.COMPLETED
    assert found.next_run_time is not None
    assert timedelta() < found.next_run_time - SystemClock().now() <= timedelta(days=1)


@pytest.mark.kills
def test_a_worker_runs_steps_without_an_order_side_by_side(
    service: Service, pend: Pend, start: Callable[[], Serving]
) -> None:
    run = pend(*(f"step_id: {step}, ps_type: test.act, act: meet, depends_on: []" for step in "ab"))
    start()
    assert wait_for(service, run, Status.COMPLETED, Status.FAILED).error is None


@pytest.mark.kills
def test_a_worker_gives_signs_of_life_until_it_stops(
    service: Service, start: Callable[[], Serving]
) -> None:
    serving = start()
    assert len(_workers(service)) == 1
    serving.stop()
    assert _workers(service) == []


@pytest.mark.kills
def test_a_worker_whose_new_beginning_failed_begins_once_more(
    service: Service, pend: Pend, start: Callable[[], Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives signs of life only while it executes: else its runs would wait for ever."""
    monkeypatch.setattr(engine_workers, "BEAT_SECONDS", 0.2)
    serving = start()
    assert serving.worker is not None
    begin, failures = Worker.start, list[str]()

    def failing(worker: Worker) -> None:
        if not failures:
            failures.append(worker.name)
            raise Unavailable("away", code="store_unavailable")
        begin(worker)

    monkeypatch.setattr(Worker, "start", failing)
    engine_workers.retire(service, serving.worker.name)
    run = pend("step_id: a, ps_type: test.act")
    assert wait_for(service, run, Status.COMPLETED, Status.FAILED).status is Status.COMPLETED
    assert len(failures) == 1
    assert serving.worker.name not in failures


@pytest.mark.kills
def test_a_stop_hands_runs_over_before_it_waits_for_copies(
    service: Service,
    tenant: Onboarded,
    start: Callable[[], Serving],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A warehouse that does not answer keeps whoever publishes to it for a minute."""
    monkeypatch.setattr(serve, "LEDGER_SECONDS", 0.05)
    asked, answer, stopped = Event(), Event(), Event()

    def away(dataset: str, upserts: Sequence[Upsert], *, seen_at: datetime) -> None:
        asked.set()
        assert answer.wait(60)
        raise Unavailable("away", code="warehouse_unreachable")

    serving = start()
    assert serving.worker is not None
    monkeypatch.setattr(serving.service.warehouse, "upsert_all", away)
    with service.database.write() as tx:
        fleet.mark_dirty(tx, "acme", None)
    assert asked.wait(60)
    stop = serving.worker.stop

    def stop_worker(*, seconds: int) -> None:
        stop(seconds=seconds)
        stopped.set()

    monkeypatch.setattr(serving.worker, "stop", stop_worker)
    ending = Thread(target=serving.stop)
    ending.start()
    assert stopped.wait(60)
    assert ending.is_alive()
    answer.set()
    ending.join(60)
    assert not ending.is_alive()


def test_a_server_without_a_worker_publishes_what_it_owns(service: Service) -> None:
    serving = serve.start(service, with_worker=False)
    serving.stop()
    assert serving.worker is None


@pytest.fixture
def on_postgresql(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    for url in postgres_url(request):
        yield build(Settings(home=tmp_path / "home", database_url=SecretStr(url)))


@pytest.mark.kills
@pytest.mark.postgres
def test_the_same_run_ends_on_postgresql(on_postgresql: Service, tmp_path: Path) -> None:
    onboard(on_postgresql, application("acme", plan="SCALE"))
    (tmp_path / "a.csv").write_text(
        "\n".join([HEADER, export_line("2024-11-01", "1.5", "", "202411")]) + "\n"
    )
    grant_export(on_postgresql, tmp_path / "*.csv", "acme")
    request = LaunchRequest(
        tenant_id="acme", template="gcp/cost/cost_billing", run_date=date(2024, 11, 1)
    )
    run = launch(on_postgresql, request).run
    serving = serve.start(on_postgresql, with_worker=True)
    try:
        assert wait_for(on_postgresql, run, Status.COMPLETED, Status.FAILED).error is None
        sql = "SELECT SUM(cost) FROM billing_cost_daily"
        assert costs.query(on_postgresql, "acme", sql).rows == [(Decimal("1.5"),)]
    finally:
        serving.stop()


def _workers(service: Service) -> list[datetime]:
    with service.database.read() as tx:
        return [worker.seen_at for worker in workers.living(tx, LEASE)]


def _wait_for_pace(service: Service, seconds: float) -> None:
    """Until the queue is looked into so often."""
    kept = sa.text("SELECT polling_interval_sec FROM queues WHERE name = 'runs'")
    for _ in range(400):
        with service.database.read() as tx:
            if tx.connection.execute(kept).scalar() == seconds:
                return
        time.sleep(0.05)
    raise AssertionError(f"not looked into every {seconds} s after 20 s")
