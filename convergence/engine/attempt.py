"""Try one step: its settings filled, its time limited, passing failures tried again."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from operator import itemgetter

from pydantic import ValidationError

from convergence.engine.load import Loader
from convergence.engine.quality import Checker
from convergence.engine.service import Service
from convergence.engine.tell import Teller
from convergence.engine.watch import Watch
from convergence.errors import Cancelled, CdpError, StepFailed, StepInterrupted, Unavailable
from convergence.model import binding
from convergence.model.cancel import CancelToken
from convergence.model.event import Level
from convergence.model.run import Run
from convergence.model.source import GrantedSource
from convergence.model.template import Step, StepTrigger, Template
from convergence.model.tenant import Tenant
from convergence.steps.base import Report, Settings, StepContext, StepLog, StepPlace
from convergence.store import sources
from convergence.warehouse.errand import Errand, on_errand
from convergence.warehouse.folders import facts_without_folders, without_folders
from convergence.warehouse.question import Scope, Value

LEASE_SLACK_SECONDS = 30
LOOK_SECONDS = 0.5
"""So often a pause is looked up from, whether the process leaves."""

RUN_TIMEOUT = "run_timeout"
STOPPING = "stopping"
"""Work broken off because the process ends: no outcome, the next start goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A run as a worker has it: `run` carries its attempt."""

    run: Run
    tenant: Tenant
    template: Template


def attempt(
    service: Service,
    claim: Claim,
    step: Step,
    *,
    names: Mapping[str, Value],
    token: CancelToken,
    leaving: threading.Event,
) -> Report:
    """Do the step's work, as often as its `retry` allows. Once `leaving` is set, nothing waits for
    its next try: another process has it at once.

    Raises Cancelled when `token`, the run's, is tripped, or a deadline is over, or the process
    leaves; StepFailed or another CdpError when the step cannot be done.
    """
    step_type = service.step_types[step.ps_type]
    tree = binding.fill(step.settings, names, unfilled=step_type.unfilled)
    settings = checked_settings(step, step_type.settings, tree)
    with token.part() as own, _deadlines(service, claim, step, token=own):
        place = _place(service, claim, step, names)
        granted = place.scope.sources
        tell = Teller(service=service, run=claim.run, step_id=step.step_id, sources=granted)
        context = _context(service, claim, step, place, token=own, tell=tell)
        try:
            with _billed(claim, step, settings, tell) as errand:
                report = _try(step, lambda: step_type.run(settings, context), own, tell, leaving)
            facts = facts_without_folders(report.facts, granted)
            return replace(report, facts={**facts, **errand.facts()})
        except Exception as error:
            # What breaks because the work was broken off is no failure of its own.
            own.check()
            if isinstance(error, CdpError):
                error.detail = without_folders(error.detail, granted)
            raise


@contextmanager
def _billed(claim: Claim, step: Step, settings: Settings, tell: StepLog) -> Iterator[Errand]:
    """While inside, the warehouse works for the step; what it bills is told, whatever happens."""
    run = claim.run
    errand = Errand(
        labels={
            "tenant": run.tenant_id,
            "pipeline": run.pipeline_id,
            "run": run.run_id,
            "step": step.step_id,
        },
        max_bytes=getattr(settings, "maximum_bytes_billed", None),
    )
    try:
        with on_errand(errand):
            yield errand
    finally:
        if errand.jobs:
            tell("the warehouse billed the step", **errand.facts())


def _try(
    step: Step,
    work: Callable[[], Report],
    token: CancelToken,
    tell: StepLog,
    leaving: threading.Event,
) -> Report:
    trial = 1
    while True:
        try:
            return work()
        except Cancelled as ended:
            token.check()
            raise StepFailed(ended.detail, code=ended.code, hint=ended.hint) from ended
        except (StepInterrupted, Unavailable) as error:
            token.check()
            if trial >= step.retry.max_attempts:
                raise
            pause = step.retry.backoff_seconds * 2 ** (trial - 1)
            tell(
                f"interrupted, trying again in {pause:g} s: {error.detail}",
                Level.WARNING,
                trial=trial,
                code=error.code,
            )
        _pause(pause, token, leaving)
        trial += 1


def checked_settings(step: Step, model: type[Settings], tree: object) -> Settings:
    """The filled settings, checked again: a value may not fit where a `{name}` did."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StepFailed(
            f"{step.step_id}: {where}: {first['msg']}",
            code="invalid_settings",
            hint="check the values of the variables it is made of",
        ) from error


def _place(service: Service, claim: Claim, step: Step, names: Mapping[str, Value]) -> StepPlace:
    return StepPlace(
        tenant_id=claim.run.tenant_id,
        run_id=claim.run.run_id,
        run_date=claim.run.run_date,
        dataset=claim.tenant.dataset,
        scope=_scope(service, claim.tenant, step),
        names=names,
    )


def _context(
    service: Service,
    claim: Claim,
    step: Step,
    place: StepPlace,
    *,
    token: CancelToken,
    tell: StepLog,
) -> StepContext:
    run, tenant = claim.run, claim.tenant
    checker = Checker(
        service=service,
        run=run,
        step_id=step.step_id,
        scope=place.scope,
        names=place.names,
        cancel=token,
        tell=tell,
    )
    loader = Loader(
        service=service,
        run=run,
        step_id=step.step_id,
        lease_seconds=step.timeout_minutes * 60 + LEASE_SLACK_SECONDS,
        cancel=token,
        tell=tell,
        checker=checker,
    )
    return StepContext(
        tenant_id=place.tenant_id,
        run_id=place.run_id,
        run_date=place.run_date,
        dataset=place.dataset,
        scope=place.scope,
        names=place.names,
        cancel=token,
        log=tell,
        load=loader.load,
        load_together=loader.load_together,
        inspect=checker.inspect,
        watch=Watch(service=service, run=run, dataset=tenant.dataset, cancel=token),
        mailer=service.mailer,
        admin_email=tenant.admin_email,
    )


def _scope(service: Service, tenant: Tenant, step: Step) -> Scope:
    """What the step may read: nothing, when it needs no warehouse."""
    granted: tuple[GrantedSource, ...] = ()
    if service.step_types[step.ps_type].settings.needs_warehouse:
        with service.database.read() as tx:
            granted = sources.granted(tx, tenant.tenant_id)
    return Scope(
        project=service.config.project,
        tenant_id=tenant.tenant_id,
        datasets=frozenset({tenant.dataset}),
        sources=granted,
    )


@contextmanager
def _deadlines(service: Service, claim: Claim, step: Step, *, token: CancelToken) -> Iterator[None]:
    """Trip the token when the step's time, or what is left of the run's, is over.

    The steps that follow the run and tell of it have their own time alone.
    """
    limits = [(step.timeout_minutes * 60, _over("step_timeout", f"step {step.step_id}", step))]
    if step.trigger is StepTrigger.ALWAYS:
        now, template = service.clock.now(), claim.template
        end = (claim.run.started_at or now) + timedelta(minutes=template.timeout_minutes)
        limits.append(((end - now).total_seconds(), _over(RUN_TIMEOUT, "the run", template)))
    seconds, reason = min(limits, key=itemgetter(0))
    timer = threading.Timer(max(seconds, 0), token.trip, (reason,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _over(code: str, what: str, limited: Step | Template) -> Cancelled:
    return Cancelled(
        f"{what} took longer than its {limited.timeout_minutes:g} minutes",
        code=code,
        hint="raise timeout_minutes in the template",
    )


def _pause(seconds: float, token: CancelToken, leaving: threading.Event) -> None:
    woken = threading.Event()
    end = time.monotonic() + seconds
    with token.breaking(woken.set):
        while not leaving.is_set() and (rest := end - time.monotonic()) > 0:
            if woken.wait(min(rest, LOOK_SECONDS)):
                break
    token.check()
    if leaving.is_set():
        raise Cancelled("the service is stopping", code=STOPPING)
