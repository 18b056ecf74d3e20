"""The sweep: every live run is waiting, or executed by a living worker, or put back."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from typing_extensions import override

from convergence.engine import workers
from convergence.engine.execute import MAX_ATTEMPTS, Executor
from convergence.engine.recover import Sweeper
from convergence.engine.service import Service
from convergence.engine.work import ENGINE_VERSION, DurableQueue, Place
from convergence.errors import Cancelled, Unavailable
from convergence.model.load import LoadKey
from convergence.model.run import Run, Status
from convergence.store import fleet, loads, runs, tables
from convergence.store import workers as store_workers
from convergence.store.database import WriteTx
from tests.engine.conftest import now

KEY = LoadKey(table="t", day=date(2024, 11, 1), source="s")


class FakeQueue(DurableQueue):
    """Says what it is told to, and keeps what was put back and enqueued."""

    def __init__(self) -> None:
        self.known: dict[str, Place] = {}
        self.next: list[dict[str, Place]] = []
        """What it says before that, look by look."""
        self.is_broken = False
        self.back: list[str] = []

    @override
    def places(self, run_ids: Sequence[str]) -> dict[str, Place]:
        return self.next.pop(0) if self.next else self.known

    @override
    def put_back(self, run: Run) -> None:
        if self.is_broken:
            raise Unavailable("told to break")
        self.back.append(run.run_id)

    @override
    def enqueue(self, tx: WriteTx, run: Run) -> None:
        self.back.append(run.run_id)


@pytest.fixture
def run(pend: Callable[..., Run]) -> Run:
    return pend("step_id: a, ps_type: test.act")


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def sweeper(service: Service, queue: FakeQueue) -> Sweeper:
    return Sweeper(service=service, queue=queue, executor=Executor(service=service, worker="me"))


@pytest.mark.parametrize("status", ["ERROR", "CANCELLED", "SUCCESS"])
def test_a_run_that_the_queue_gave_up_is_put_back(
    sweeper: Sweeper, queue: FakeQueue, run: Run, status: str
) -> None:
    queue.known[run.run_id] = Place(status=status, worker="me")
    assert len(sweeper.sweep()) == 1
    assert queue.back == [run.run_id]


def test_a_run_of_a_dead_worker_is_put_back(sweeper: Sweeper, queue: FakeQueue, run: Run) -> None:
    queue.known[run.run_id] = Place(status="PENDING", worker="gone")
    sweeper.sweep()
    assert queue.back == [run.run_id]


def test_a_run_of_another_process_is_left_until_that_is_silent(
    service: Service,
    sweeper: Sweeper,
    queue: FakeQueue,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service.database, "is_sqlite", False)
    monkeypatch.setattr(service.database, "alone", lambda _: nullcontext(True))
    workers.enlist(service, "other", engine=ENGINE_VERSION)
    queue.known[run.run_id] = Place(status="PENDING", worker="other")
    assert len(sweeper.sweep()) == 0
    _silence(service, "other")
    assert len(sweeper.sweep()) == 1


def test_a_run_that_waits_for_a_version_nobody_has_is_put_back(
    sweeper: Sweeper, queue: FakeQueue, run: Run
) -> None:
    queue.known[run.run_id] = Place(status="ENQUEUED", worker=None, version="engine-0")
    assert len(sweeper.sweep()) == 1


def test_what_a_stopped_worker_had_is_handed_over(
    sweeper: Sweeper, queue: FakeQueue, run: Run
) -> None:
    queue.known[run.run_id] = Place(status="PENDING", worker="me")
    assert sweeper.hand_over() == 1
    queue.known[run.run_id] = Place(status="PENDING", worker="other")
    assert sweeper.hand_over() == 0


def test_a_run_that_is_handed_over_again_and_again_is_not_given_up(
    service: Service, queue: FakeQueue, run: Run
) -> None:
    for number in range(MAX_ATTEMPTS + 2):
        stopped = Executor(service=service, worker=f"worker-{number}")
        with stopped.under_way(run.run_id):
            walk = stopped.begin("acme", run.run_id)
            assert walk is not None
            stopped.break_off()
            with pytest.raises(Cancelled):
                walk.run_steps(walk.next_steps())
        queue.known[run.run_id] = Place(status="ERROR", worker=stopped.worker)
        assert Sweeper(service=service, queue=queue, executor=stopped).hand_over() == 1
    with service.database.read() as tx:
        (step,) = runs.steps(tx, "acme", run.run_id)
    assert step.status is Status.PENDING
    Executor(service=service, worker="last").walk("acme", run.run_id)
    assert now(service, run).status is Status.COMPLETED


def test_a_run_that_another_process_put_back_is_left_to_it(
    sweeper: Sweeper, queue: FakeQueue, run: Run
) -> None:
    places = [Place(status="PENDING", worker="gone"), Place(status="ENQUEUED", worker=None)]
    queue.next = [{run.run_id: place} for place in places]
    assert sweeper.sweep() == []
    assert queue.back == []


def test_a_run_that_is_put_back_is_its_old_workers_no_more(
    service: Service, sweeper: Sweeper, queue: FakeQueue, run: Run
) -> None:
    old = Executor(service=service, worker="gone").begin("acme", run.run_id)
    assert old is not None
    queue.known[run.run_id] = Place(status="PENDING", worker="gone")
    sweeper.sweep()
    old.to_the_end()
    assert now(service, run).status is Status.RUNNING  # the end that it wrote was refused
    new = sweeper.executor.begin("acme", run.run_id)
    assert new is not None
    assert new.run.attempt == old.run.attempt + 1


def test_a_run_that_the_queue_lost_is_enqueued_again(
    sweeper: Sweeper, queue: FakeQueue, run: Run
) -> None:
    sweeper.sweep()
    assert queue.back == [run.run_id]


def test_a_run_that_waits_is_left(sweeper: Sweeper, queue: FakeQueue, run: Run) -> None:
    queue.known[run.run_id] = Place(status="ENQUEUED", worker=None)
    assert len(sweeper.sweep()) == 0
    assert queue.back == []


def test_a_run_under_way_here_is_left(sweeper: Sweeper, queue: FakeQueue, run: Run) -> None:
    queue.known[run.run_id] = Place(status="PENDING", worker="me")
    with sweeper.executor.under_way(run.run_id):
        assert [len(sweeper.sweep()) for _ in range(3)] == [0, 0, 0]


def test_a_run_given_to_this_worker_has_one_look_to_start(
    sweeper: Sweeper, queue: FakeQueue, run: Run
) -> None:
    queue.known[run.run_id] = Place(status="PENDING", worker="me")
    assert [len(sweeper.sweep()) for _ in range(2)] == [0, 1]
    assert queue.back == [run.run_id]


def test_a_run_that_cannot_be_put_back_is_tried_again(
    sweeper: Sweeper, queue: FakeQueue, run: Run
) -> None:
    queue.known[run.run_id] = Place(status="ERROR", worker="me")
    queue.is_broken = True
    sweeper.sweep()
    queue.is_broken = False
    sweeper.sweep()
    assert queue.back == [run.run_id]


@pytest.mark.parametrize("status", ["ERROR", "ENQUEUED"])
def test_a_run_that_nobody_executes_loses_its_lease(
    service: Service, sweeper: Sweeper, queue: FakeQueue, run: Run, status: str
) -> None:
    _lease(service, run)
    queue.known[run.run_id] = Place(status=status, worker=None)
    sweeper.sweep()
    assert _leased(service) == set()


def test_a_run_under_way_keeps_its_lease(
    service: Service, sweeper: Sweeper, queue: FakeQueue, run: Run
) -> None:
    _lease(service, run)
    queue.known[run.run_id] = Place(status="PENDING", worker="me")
    with sweeper.executor.under_way(run.run_id):
        sweeper.sweep()
    assert _leased(service) == {run.run_id}


def _silence(service: Service, worker: str) -> None:
    """As if it had not been heard of for longer than its lease."""
    with service.database.write() as tx:
        silent_since = store_workers.moment(tx) - timedelta(seconds=21)
        change = sa.update(tables.workers).where(tables.workers.c.worker == worker)
        tx.connection.execute(change.values(seen_at=silent_since))


def _lease(service: Service, run: Run) -> None:
    now = datetime(2024, 11, 5, tzinfo=UTC)
    with service.database.write() as tx:
        loads.acquire(tx, "acme", KEY, run_id=run.run_id, attempt=1, now=now, seconds=10**6)


def _leased(service: Service) -> set[str]:
    with service.database.read() as tx:
        return set(fleet.leased_runs(tx))
