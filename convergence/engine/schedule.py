"""Start what is due: each moment of each schedule once, however many processes look.

A due moment is handled in one transaction: the schedule is claimed, the run admitted like any
other, and `next_run_time` moved on. What dies before the commit left everything as it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from convergence.engine import alert
from convergence.engine.launch import Launched, admit, ask, with_kinds
from convergence.engine.service import Service
from convergence.errors import (
    CdpError,
    Conflict,
    Forbidden,
    StepInterrupted,
    Unavailable,
    WarehouseError,
)
from convergence.model.run import LaunchRequest, Run, Trigger
from convergence.model.schedule import Due, Miss, Schedule, decide
from convergence.model.source import Kind
from convergence.outside.logs import Log
from convergence.store import fleet, schedules
from convergence.store.database import UNAVAILABLE, WriteTx
from convergence.store.fleet import DueSchedule

BATCH = 1000
PAUSE = timedelta(minutes=1)
"""From one try to the next, when something that a run needs is away."""
CONCURRENT = "quota_exceeded.concurrent"
PASSED = "nobody_there"
PASSING = (Unavailable, WarehouseError, StepInterrupted)

log = Log(__name__)


class Outcome(StrEnum):
    """What became of a due schedule."""

    TRIGGERED = "triggered"
    WAITING = "waiting"
    MISSED = "missed"
    PUT_OFF = "put_off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """One due schedule. `run` is the one it started, or found live; `problem` why there is none."""

    tenant_id: str
    config_id: str
    outcome: Outcome
    due: datetime | None = None
    run: Run | None = None
    problem: str = ""


def run_due(
    service: Service, *, limit: int | None = None, is_over: Callable[[], bool] = lambda: False
) -> list[Fired]:
    """Handle what is due now, the highest priority first, each schedule once. Never held up by
    one: what fails is put off, or recorded as missed. `is_over` ends it early.
    """
    full: set[str] = set()
    fired: list[Fired] = []
    for due in _each_due(service):
        if is_over() or (limit is not None and len(fired) >= limit):
            break
        if due.tenant_id in full:
            continue
        one = _fire(service, due.tenant_id, due.config_id)
        if one is not None:
            fired.append(one)
            full |= {due.tenant_id} if one.outcome is Outcome.WAITING else set()
    return fired


def _each_due(service: Service) -> Iterator[DueSchedule]:
    """Each schedule once, also one whose next moment is due as well."""
    now = service.clock.now()
    seen: set[str] = set()
    after: DueSchedule | None = None
    while True:
        with service.database.read() as tx:
            found = fleet.due_schedules(tx, now=now, limit=BATCH, after=after)
        yield from (due for due in found if due.config_id not in seen)
        if len(found) < BATCH:
            return
        seen |= {due.config_id for due in found}
        after = found[-1]


def _fire(service: Service, tenant_id: str, config_id: str) -> Fired | None:
    """None when another process has it. Raises Unavailable when the store is away."""
    try:
        return with_kinds(
            service, lambda kinds: _handle(service, tenant_id, config_id, kinds=kinds)
        )
    except CdpError as error:
        if error.code == UNAVAILABLE:
            raise
        return _put_off(service, tenant_id, config_id, error)
    except Exception:
        log.exception("schedule broke", tenant_id=tenant_id, config_id=config_id)
        unknown = CdpError("a fault of this program; the log has it", code="internal_error")
        return _put_off(service, tenant_id, config_id, unknown)


def _handle(
    service: Service, tenant_id: str, config_id: str, *, kinds: Mapping[str, Kind]
) -> Fired | None:
    """What comes of a due schedule, all in one transaction."""
    _ = service.queue  # opened before the transaction, which it would wait for
    with service.database.write() as tx:
        now = service.clock.now()
        schedule = schedules.claim(tx, tenant_id, config_id, now=now)
        if schedule is None:
            return None
        due = decide(schedule, now)
        if due.passed:
            _miss(tx, schedule, due.passed, _passed(schedule), now=now)
        if due.moment is None:
            return _advance(tx, schedule, due, _passed(schedule))
        asked = _admitted(service, tx, schedule, due.moment, kinds=kinds)
        if isinstance(asked, Launched):
            return _started(tx, schedule, due, asked.run, now=now)
        if asked.code == CONCURRENT:
            return _wait(tx, schedule, due, asked, now=now)
        _miss(tx, schedule, (due.moment,), asked, now=now)
        return _advance(tx, schedule, due, asked)


def _admitted(
    service: Service,
    tx: WriteTx,
    schedule: Schedule,
    moment: datetime,
    *,
    kinds: Mapping[str, Kind],
) -> Launched | CdpError:
    """The run, or why there is none. Raises what may pass by itself."""
    request = LaunchRequest(
        tenant_id=schedule.tenant_id,
        template=schedule.template,
        run_date=schedule.run_date(moment),
        trigger=Trigger.SCHEDULE,
        trigger_by=f"schedule {schedule.config_id}",
        variables=schedule.parameters,
    )
    try:
        return admit(service, tx, ask(service, request), kinds)
    except PASSING:
        raise
    except CdpError as refusal:
        return refusal


def _started(tx: WriteTx, schedule: Schedule, due: Due, run: Run, *, now: datetime) -> Fired:
    done = replace(
        schedule,
        next_run_time=due.then,
        last_run_time=now,
        last_run_status=run.status.value,
        last_run_id=run.run_id,
        waiting_since=None,
        retry_at=None,
        problem_code=None,
        problem=None,
    )
    schedules.advance(tx, done)
    return _fired(schedule, Outcome.TRIGGERED, due=due.moment, run=run)


def _wait(tx: WriteTx, schedule: Schedule, due: Due, refusal: CdpError, *, now: datetime) -> Fired:
    """It stays due, and is looked at again when the tenant has a slot."""
    waiting = replace(
        schedule,
        next_run_time=due.moment,
        waiting_since=schedule.waiting_since or now,
        retry_at=None,
        problem_code=refusal.code,
        problem=refusal.detail,
    )
    schedules.advance(tx, waiting)
    return _fired(schedule, Outcome.WAITING, due=due.moment, problem=refusal.detail)


def _advance(tx: WriteTx, schedule: Schedule, due: Due, refusal: CdpError) -> Fired:
    """Go on with the next moment; the schedule shows why this one had no run."""
    passed_on = replace(
        schedule,
        next_run_time=due.then,
        waiting_since=None,
        retry_at=None,
        problem_code=refusal.code,
        problem=refusal.detail,
    )
    schedules.advance(tx, passed_on)
    return _fired(schedule, Outcome.MISSED, due=due.moment, problem=refusal.detail)


def _miss(
    tx: WriteTx,
    schedule: Schedule,
    moments: Sequence[datetime],
    reason: CdpError,
    *,
    now: datetime,
) -> None:
    """Keep it, and tell the tenant; a suspended one was told otherwise."""
    miss = Miss(
        first_due=moments[0],
        last_due=moments[-1],
        count=len(moments),
        code=reason.code,
        reason=f"{reason.detail} (try: {reason.hint})" if reason.hint else reason.detail,
        recorded_at=now,
    )
    schedules.record_miss(tx, schedule.tenant_id, schedule.config_id, miss)
    if not isinstance(reason, Forbidden):
        alert.schedule_missed(tx, schedule, miss)


def _passed(schedule: Schedule) -> CdpError:
    return Conflict(
        "nothing ran schedules at that time, or an earlier run of this one still waited",
        code=PASSED,
        hint=f"of missed moments the latest {schedule.catch_up} are caught up; catch_up says how "
        "many. cdp run runs a day by hand",
    )


def _put_off(service: Service, tenant_id: str, config_id: str, trouble: CdpError) -> Fired | None:
    """It stays due, and is tried again after a pause."""
    log.warning("schedule put off", tenant_id=tenant_id, config_id=config_id, error=trouble.detail)
    try:
        with service.database.write() as tx:
            now = service.clock.now()
            schedule = schedules.claim(tx, tenant_id, config_id, now=now)
            if schedule is None:
                return None
            later = replace(
                schedule, retry_at=now + PAUSE, problem_code=trouble.code, problem=trouble.detail
            )
            schedules.advance(tx, later)
    except Exception:
        log.exception("schedule not put off", tenant_id=tenant_id, config_id=config_id)
        return None
    return _fired(schedule, Outcome.PUT_OFF, due=schedule.next_run_time, problem=trouble.detail)


def _fired(
    schedule: Schedule,
    outcome: Outcome,
    *,
    due: datetime | None,
    run: Run | None = None,
    problem: str = "",
) -> Fired:
    return Fired(
        tenant_id=schedule.tenant_id,
        config_id=schedule.config_id,
        outcome=outcome,
        due=due,
        run=run,
        problem=problem,
    )
