"""What a tenant's people should know, left in the store for `deliver.py`.

It is written with what it tells of, and never fails it nor holds it up.
"""

from collections.abc import Sequence
from datetime import datetime

from convergence.engine.service import Service
from convergence.model.money import add_up, subtract
from convergence.model.notification import Notification
from convergence.model.quality import QualityResult
from convergence.model.restatement import Restatement, money
from convergence.model.run import Run, StepRun
from convergence.model.schedule import Miss, Schedule
from convergence.model.tenant import Limits, Tenant
from convergence.store import notifications
from convergence.store.database import WriteTx

MOST_DOUBTS = 20
"""So many lines about files with fewer rows, or that may be copies, are in a mail; the log of
the run has them all.
"""


def step_failed(service: Service, run: Run, step: StepRun) -> None:
    """A step with `on_failure: alert` has failed: what, why, and where to look."""
    notification = Notification(
        notification_id=f"step_failed/{run.run_id}/{step.step_id}",
        tenant_id=run.tenant_id,
        subject=f"[ALERT] {run.pipeline_id}: step {step.step_id} failed",
        text=(
            f"Tenant: {run.tenant_id}\nPipeline: {run.pipeline_id}\nDate: {run.run_date}\n"
            f"Run: {run.run_id}\nStep: {step.step_id} ({step.ps_type})\n\n{step.error}\n\n"
            f"Look: cdp runs show {run.run_id} --tenant {run.tenant_id}\n"
        ),
        created_at=service.clock.now(),
    )
    with service.database.write() as tx:
        notifications.add(tx, notification)


def quality_failed(tx: WriteTx, run: Run, result: QualityResult) -> None:
    """A critical check failed: which, of what, and where to look."""
    notification = Notification(
        notification_id=f"quality_failed/{result.dq_result_id}",
        tenant_id=run.tenant_id,
        subject=f"[CRITICAL] {run.tenant_id}: {result.table} of {result.day} failed its checks",
        text=(
            f"Tenant: {run.tenant_id}\nPipeline: {run.pipeline_id}\nRun: {run.run_id}\n"
            f"Table: {result.table}\nDay: {result.day}\nSource: {result.source}\n\n"
            f"{result.sentence}\n\nThe rows that were there before are still in place.\n\n"
            f"Look: cdp quality show {result.dq_result_id} --tenant {run.tenant_id}\n"
        ),
        created_at=result.executed_at,
    )
    notifications.add(tx, notification)


def restated(
    tx: WriteTx, run: Run, found: Sequence[Restatement], doubts: Sequence[str], *, now: datetime
) -> None:
    """Amounts that had been reported are other ones now: by how much, of which days, and why; and
    what the run said of files that have fewer rows, or may be copies.
    """
    moved: dict[str, list[Restatement]] = {}
    for each in found:
        moved.setdefault(each.currency or "no currency", []).append(each)
    first, last = found[0].usage_date, found[-1].usage_date
    when = f"{first}" if first == last else f"{first} to {last}"
    since = f"--since {run.created_at:%Y-%m-%d}"
    lines = [f"{currency}: {_move(those)}" for currency, those in sorted(moved.items())]
    notification = Notification(
        notification_id=f"restated/{run.run_id}",
        tenant_id=run.tenant_id,
        subject=f"[RESTATED] {run.tenant_id}: costs of {when} have changed",
        text=(
            f"Tenant: {run.tenant_id}\nPipeline: {run.pipeline_id}\nRun: {run.run_id}\n"
            f"Days: {len({r.usage_date for r in found})}, {when}\n\n"
            + "\n".join([*lines, *doubts[:MOST_DOUBTS], ""])
            + f"\nLook: cdp costs diff --tenant {run.tenant_id} {since}\n"
        ),
        created_at=now,
    )
    notifications.add(tx, notification)


def _move(those: Sequence[Restatement]) -> str:
    """By how much, from what to what, and why; of the keys that changed, in one currency."""
    old, new = add_up(r.old.net for r in those), add_up(r.new.net for r in those)
    by = subtract(new, old)
    reasons = ", ".join(sorted({r.reason.value for r in those}))
    return f"{'+' if by > 0 else ''}{money(by)} ({money(old)} became {money(new)}), {reasons}"


def quota_nearly_used(
    tx: WriteTx, tenant: Tenant, limits: Limits, *, used: int, now: datetime
) -> None:
    """The day's runs have come to 80 % of what is granted."""
    notification = Notification(
        notification_id=f"quota_warning/{tenant.tenant_id}/{now.date()}",
        tenant_id=tenant.tenant_id,
        subject=f"[WARNING] {tenant.tenant_id}: {used} of {limits.daily_limit} runs of today used",
        text=(
            f"Tenant: {tenant.tenant_id}\nRuns of this day (UTC): {used}\n"
            f"Daily limit: {limits.daily_limit} ({tenant.plan})\n\n"
            f"Look: cdp quota show --tenant {tenant.tenant_id}\n"
        ),
        created_at=now,
    )
    notifications.add(tx, notification)


def schedule_missed(tx: WriteTx, schedule: Schedule, miss: Miss) -> None:
    """Scheduled runs never came: which, why, what to do. Once a day for a schedule and reason."""
    day = miss.recorded_at.date()
    first, last = f"{miss.first_due:%Y-%m-%d %H:%M}", f"{miss.last_due:%Y-%m-%d %H:%M}"
    when = first if miss.count == 1 else f"{first} to {last} ({miss.count} times)"
    notification = Notification(
        notification_id=f"schedule_missed/{schedule.config_id}/{miss.code}/{day}",
        tenant_id=schedule.tenant_id,
        subject=f"[ALERT] {schedule.tenant_id}: scheduled run of {schedule.template} missed",
        text=(
            f"Tenant: {schedule.tenant_id}\nTemplate: {schedule.template}\n"
            f"Schedule: {schedule.config_id} ({schedule.cron}, {schedule.timezone})\n"
            f"Due (UTC): {when}\n\n{miss.reason}\n\n"
            f"Look: cdp schedules show {schedule.config_id} --tenant {schedule.tenant_id}\n"
            f"Run it now: cdp run {schedule.template} --tenant {schedule.tenant_id} "
            f"--date {schedule.run_date(miss.last_due)}\n"
        ),
        created_at=miss.recorded_at,
    )
    notifications.add(tx, notification)
