"""What runs by itself, callable by an outside cron as well; and how it stands."""

from collections import Counter
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request

from convergence.api import wire
from convergence.api.auth import Operator
from convergence.engine import days
from convergence.engine.schedule import run_due
from convergence.model.run import Status
from convergence.store import fleet

router = APIRouter(prefix="/api/v1/scheduler", tags=["scheduler"])

AVERAGED = timedelta(days=7)


@router.post("/trigger", operation_id="trigger_schedules")
def trigger_schedules(
    door: Operator, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> wire.TriggeredOut:
    """Start what is due, as workers do every second."""
    fired = run_due(door.service, limit=limit)
    with door.service.database.read() as tx:
        counts = fleet.schedule_counts(tx, now=door.service.clock.now())
    return wire.triggered_out(fired, next_due=counts.next_due)


@router.post("/process-queue", operation_id="process_queue")
def process_queue(door: Operator) -> wire.QueueOut:
    """Start the first schedule that is due. Workers take runs from the queue by themselves."""
    return wire.queue_out(run_due(door.service, limit=1))


@router.get("/status", operation_id="get_scheduler_status")
def get_scheduler_status(door: Operator) -> wire.SchedulerStatusOut:
    """Schedules, runs and outcomes of this UTC day; the average is over runs of seven days."""
    now = door.service.clock.now()
    with door.service.database.read() as tx:
        counts = fleet.schedule_counts(tx, now=now)
        live: Counter[Status] = Counter()
        for (_, status), count in fleet.status_counts(tx).items():
            live[status] += count
        today = fleet.usage_of(tx, now.date())
        average = fleet.average_seconds(tx, since=now - AVERAGED)
    return wire.SchedulerStatusOut(
        total_active_pipelines=counts.active,
        pipelines_due_now=counts.due,
        pipelines_queued=live[Status.PENDING],
        pipelines_running=live[Status.RUNNING],
        pipelines_completed_today=sum(row.pipelines_succeeded_today for row in today),
        pipelines_failed_today=sum(row.pipelines_failed_today for row in today),
        queue_length=live[Status.PENDING] + counts.waiting,
        avg_execution_time_seconds=average,
    )


@router.post("/reset-daily-quotas", operation_id="reset_daily_quotas")
def reset_daily_quotas(door: Operator) -> wire.QuotasOut:
    """Open the new day's rows. A new day begins at zero by itself; a finished one never changes."""
    opened = days.open_day(door.service)
    now = door.service.clock.now()
    return wire.QuotasOut(
        records_updated=opened,
        message=f"{opened} rows of {now.date()} opened; finished days stay as they are",
        executed_at=now,
    )


@router.post("/cleanup-orphaned-pipelines", operation_id="cleanup_orphaned_pipelines")
def cleanup_orphaned_pipelines(door: Operator, request: Request) -> wire.CleanupOut:
    """Put back the runs that no worker has, as workers do every five seconds."""
    put_back = Counter(request.app.state.serving.sweep())
    with door.service.database.read() as tx:
        live = set(fleet.live_runs(tx).values())
    return wire.CleanupOut(
        total_pipelines_cleaned=put_back.total(),
        tenants_processed=len(live | put_back.keys()),
        tenants_with_cleanup=len(put_back),
        details=[
            wire.CleanedOut(tenant_id=tenant_id, pipelines_cleaned=count)
            for tenant_id, count in sorted(put_back.items())
        ],
        executed_at=door.service.clock.now(),
    )
