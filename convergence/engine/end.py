"""The end of a run and all that follows from it, in one transaction. For `execute` and `cancel`."""

from collections.abc import Sequence
from datetime import datetime

from convergence.engine import alert
from convergence.engine.accept import ROWS_LOST
from convergence.engine.service import Service
from convergence.engine.tell import MOST_LINES
from convergence.errors import CdpError
from convergence.model.event import Level
from convergence.model.run import Run, Status, StepRun
from convergence.model.twin import ROWS_TWICE
from convergence.outside.logs import Log
from convergence.steps.base import needs_warehouse
from convergence.store import events, loads, restatements, runs, schedules, tenants, usage
from convergence.store.database import ReadTx, WriteTx

MOST_NEWS = 10_000
"""So many restatements are added up for the alert about a run."""

log = Log(__name__)


def end(
    service: Service,
    run: Run,
    status: Status,
    error: CdpError | None,
    *,
    last_steps: Sequence[StepRun] = (),
) -> None:
    """End the run, unless it is over or has passed to another attempt: then the log says so."""
    with service.database.write() as tx:
        ended = end_within(tx, service, run, status, error, last_steps=last_steps)
    if ended is not None:
        count(service, ended)
    else:
        log.warning("attempt lost, nothing written", run_id=run.run_id, attempt=run.attempt)


def end_within(
    tx: WriteTx,
    service: Service,
    run: Run,
    status: Status,
    error: CdpError | None,
    *,
    last_steps: Sequence[StepRun] = (),
) -> Run | None:
    """The ended run; None, and nothing written, when it is not this one's to end.

    Call `count` with it when the transaction has committed.
    """
    now = service.clock.now()
    # The tenant before the run, as all do who take both: else two would wait for one another.
    tenants.hold(tx, run.tenant_id)
    ended = runs.finish(
        tx,
        run.tenant_id,
        run.run_id,
        attempt=run.attempt,
        status=status,
        now=now,
        error_code=error.code if error else None,
        error=error.detail if error else None,
        last_steps=last_steps,
    )
    if ended is not None:
        schedules.note_end(tx, ended, status)
        usage.record_finish(tx, run.tenant_id, run.created_at.date(), status, now=now)
        if needs_warehouse(run.snapshot, service.step_types):
            _end_loads(tx, ended, now=now)
    return ended


def _end_loads(tx: WriteTx, ended: Run, *, now: datetime) -> None:
    """It holds nothing any more; what it restated is told."""
    loads.release_all(tx, ended.tenant_id, ended.run_id)
    if found := restatements.news(tx, ended, limit=MOST_NEWS):
        alert.restated(tx, ended, found, _doubts(tx, ended), now=now)


def _doubts(tx: ReadTx, ended: Run) -> list[str]:
    """What its log says of files that hold fewer rows than were published of them, and of those
    that may be copies.
    """
    warned = events.page(
        tx, ended.tenant_id, ended.run_id, levels=frozenset({Level.WARNING}), limit=MOST_LINES
    )
    return [event.message for event in warned if event.facts.keys() & {ROWS_LOST, ROWS_TWICE}]


def count(service: Service, ended: Run) -> None:
    service.metrics.run_finished(
        ended.tenant_id,
        ended.pipeline_id,
        status=str(ended.status),
        seconds=(ended.duration_ms or 0) / 1000,
    )
