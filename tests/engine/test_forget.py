"""The recurring act that keeps the tables from growing for ever."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from convergence.engine import serve
from convergence.engine.forget import forget
from convergence.engine.launch import launch
from convergence.engine.service import Service
from convergence.engine.work import DurableQueue
from convergence.model.run import LaunchRequest, Run, Status
from convergence.store import events, history
from tests.engine.conftest import now, wait_for
from tests.fakes import FakeClock

STEP = "step_id: a, ps_type: test.act"


def has_events(service: Service, run: Run) -> bool:
    with service.database.read() as tx:
        return bool(events.page(tx, "acme", run.run_id, limit=1))


@pytest.mark.kills
def test_what_is_over_is_forgotten_and_what_waits_is_not(
    service: Service, pend: Callable[..., Run], clock: FakeClock
) -> None:
    over = pend(STEP)
    serving = serve.start(service, with_worker=True)
    over = wait_for(service, over, Status.COMPLETED)
    queue = service.queue
    assert isinstance(queue, DurableQueue)
    database = service.__dict__.pop("database")
    serving.stop()
    service.database = database
    waiting = launch(service, LaunchRequest(tenant_id="acme", template="test/engine/steps")).run
    assert queue.places([over.run_id, waiting.run_id]).keys() == {over.run_id, waiting.run_id}
    clock.advance(days=36_500)
    forget(service)
    assert queue.places([over.run_id, waiting.run_id]).keys() == {waiting.run_id}
    assert not has_events(service, over)
    assert has_events(service, waiting)
    assert now(service, waiting).status is Status.PENDING


def test_nothing_is_forgotten_that_is_to_be_kept_for_ever(
    service: Service, walk: Callable[..., Run], clock: FakeClock
) -> None:
    kept = walk(STEP)
    walk(STEP)
    service.config = replace(
        service.config, keep_queue_days=0, keep_events_days=0, keep_runs_days=0
    )
    clock.advance(days=36_500)
    forget(service)
    assert has_events(service, kept)
    with service.database.read() as tx:
        assert history.live_among(tx, [kept.run_id]) == frozenset()
