"""Cancel a run: a flag in its row, which the process that executes it watches for."""

from convergence.engine import end
from convergence.engine.execute import Executor
from convergence.engine.service import Service
from convergence.errors import Cancelled, Conflict
from convergence.model.run import Run, Status
from convergence.outside.logs import Log
from convergence.store import fleet, runs, tenants

WATCH_SECONDS = 0.5

log = Log(__name__)


def cancel(service: Service, tenant_id: str, run_id: str) -> Run:
    """The run: CANCELLED at once when no worker has it yet, else asked to end. Safe to repeat.

    Raises NotFound, and Conflict when the run ended in another way.
    """
    with service.database.write() as tx:
        tenants.hold(tx, tenant_id)
        run = runs.request_cancel(tx, tenant_id, run_id, now=service.clock.now())
        ended = None
        if run.status is Status.PENDING:
            reason = Cancelled("the run was cancelled before it began")
            ended = end.end_within(tx, service, run, Status.CANCELLED, reason)
    if ended is not None:
        end.count(service, ended)
        _withdraw(service, run_id)
        return ended
    if not run.is_live and run.status is not Status.CANCELLED:
        raise Conflict(
            f"Run {run_id} is {run.status} and cannot be cancelled",
            code="run_over",
            hint="what it loaded stays; a new run of the day replaces it",
        )
    return run


def trip_cancelled(executor: Executor) -> None:
    """End the work of runs that are under way in this process, and that somebody cancelled."""
    under_way = list(executor.tokens)
    if not under_way:
        return
    with executor.service.database.read() as tx:
        cancelled = fleet.cancelled_among(tx, under_way)
    for run_id in cancelled:
        executor.cancel(run_id)


def _withdraw(service: Service, run_id: str) -> None:
    """Take it out of the queue. If that fails, a worker finds it over."""
    try:
        service.queue.withdraw(run_id)
    except Exception:
        log.exception("cancelled run not taken out of the queue", run_id=run_id)
