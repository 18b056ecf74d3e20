"""The sweep: every live run is waiting, or executed by a living worker, or put back."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

import pytest
from typing_extensions import override

from convergence.engine import workers
from convergence.engine.execute import Executor
from convergence.engine.recover import Sweeper
from convergence.engine.service import Service
from convergence.engine.work import DurableQueue, Place
from convergence.errors import Unavailable
from convergence.model.load import LoadKey
from convergence.model.run import Run
from convergence.store import fleet, loads
from convergence.store.database import WriteTx
from tests.fakes import FakeClock

KEY = LoadKey(table="t", day=date(2024, 11, 1), source="s")


class FakeQueue(DurableQueue):
    """Says what it is told to, and keeps what was put back and enqueued."""

    def __init__(self) -> None:
        self.known: dict[str, Place] = {}
        self.is_broken = False
        self.back: list[str] = []

    @override
    def places(self, run_ids: Sequence[str]) -> dict[str, Place]:
        return self.known

    @override
    def put_back(self, run_id: str) -> None:
        if self.is_broken:
            raise Unavailable("told to break")
        self.back.append(run_id)

    @override
    def enqueue(self, tx: WriteTx, tenant_id: str, run_id: str) -> None:
        self.back.append(run_id)


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
    assert sweeper.sweep() == 1
    assert queue.back == [run.run_id]


def test_a_run_of_a_dead_worker_is_put_back(sweeper: Sweeper, queue: FakeQueue, run: Run) -> None:
    queue.known[run.run_id] = Place(status="PENDING", worker="gone")
    sweeper.sweep()
    assert queue.back == [run.run_id]


def test_a_run_of_another_process_is_left_until_that_is_silent(
    service: Service, clock: FakeClock, sweeper: Sweeper, queue: FakeQueue, run: Run
) -> None:
    service.database.is_sqlite = False
    workers.beat(service, "other")
    queue.known[run.run_id] = Place(status="PENDING", worker="other")
    assert sweeper.sweep() == 0
    clock.advance(seconds=21)
    assert sweeper.sweep() == 1


def test_a_run_that_the_queue_lost_is_enqueued_again(
    sweeper: Sweeper, queue: FakeQueue, run: Run
) -> None:
    sweeper.sweep()
    assert queue.back == [run.run_id]


def test_a_run_that_waits_is_left(sweeper: Sweeper, queue: FakeQueue, run: Run) -> None:
    queue.known[run.run_id] = Place(status="ENQUEUED", worker=None)
    assert sweeper.sweep() == 0
    assert queue.back == []


def test_a_run_under_way_here_is_left(sweeper: Sweeper, queue: FakeQueue, run: Run) -> None:
    queue.known[run.run_id] = Place(status="PENDING", worker="me")
    with sweeper.executor.under_way(run.run_id):
        assert [sweeper.sweep() for _ in range(3)] == [0, 0, 0]


def test_a_run_given_to_this_worker_has_one_look_to_start(
    sweeper: Sweeper, queue: FakeQueue, run: Run
) -> None:
    queue.known[run.run_id] = Place(status="PENDING", worker="me")
    assert [sweeper.sweep() for _ in range(2)] == [0, 1]
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


def _lease(service: Service, run: Run) -> None:
    now = datetime(2024, 11, 5, tzinfo=UTC)
    with service.database.write() as tx:
        loads.acquire(tx, "acme", KEY, run_id=run.run_id, attempt=1, now=now, seconds=10**6)


def _leased(service: Service) -> set[str]:
    with service.database.read() as tx:
        return set(fleet.leased_runs(tx))
