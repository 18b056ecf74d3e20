"""Execute runs in this process: claim one, walk it to its end, and break off its work when it must.

Every write carries the run's attempt. `work.py` calls it for runs from the queue; a command that
owns the home walks its own.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from convergence.engine import record
from convergence.engine.attempt import STOPPING, Claim
from convergence.engine.end import end
from convergence.engine.outlast import outlast
from convergence.engine.service import Service
from convergence.engine.walk import Walk
from convergence.errors import Cancelled, CdpError, StepFailed
from convergence.library import from_snapshot
from convergence.model.cancel import CancelToken
from convergence.model.run import ENDED, Run, Status, StepRun
from convergence.model.template import Step, StepTrigger, Template
from convergence.outside.logs import Log
from convergence.steps.base import step_models
from convergence.store import runs, tenants

T = TypeVar("T")

MAX_ATTEMPTS = 5

log = Log(__name__)


@dataclass(kw_only=True)
class Executor:
    """Executes runs for one process. `tokens` has the runs under way here, and ends their work;
    `closing` are those of them that are at their terminal steps.
    """

    service: Service
    worker: str
    tokens: dict[str, CancelToken] = field(default_factory=dict)
    closing: set[str] = field(default_factory=set)
    leaving: threading.Event = field(default_factory=threading.Event)
    """Set once the process stops: runs under way may end, but nothing begins to wait."""
    _broken_off: threading.Event = field(default_factory=threading.Event)
    _templates: dict[tuple[str, str], Template] = field(default_factory=dict)

    def walk(self, tenant_id: str, run_id: str) -> None:
        """Execute a run from its claim to its end."""
        with self.under_way(run_id):
            walk = self.begin(tenant_id, run_id)
            if walk is not None:
                walk.to_the_end()

    @contextmanager
    def under_way(self, run_id: str) -> Iterator[None]:
        """While inside, the run has a token here: nobody takes it for lost."""
        self.tokens[run_id] = CancelToken()
        try:
            yield
        finally:
            self.tokens.pop(run_id, None)
            self.closing.discard(run_id)

    def cancel(self, run_id: str) -> None:
        """End the ordinary steps of a run under way here, if it still has some."""
        token = self.tokens.get(run_id)
        if token is not None and run_id not in self.closing:
            token.trip(Cancelled("the run was cancelled"))

    def break_off(self) -> None:
        """End all work without an outcome: the process stops."""
        self._broken_off.set()
        for token in list(self.tokens.values()):
            token.trip(Cancelled("the service is stopping", code=STOPPING))

    def begin(self, tenant_id: str, run_id: str) -> Walk | None:
        """Claim the run, and write that its first steps begin. None when it is over, or cannot be
        executed and is now FAILED.
        """
        claimed = self.outlast(partial(self._claim, tenant_id, run_id))
        if isinstance(claimed, _Refused):
            self._give_up(claimed)
            return None
        return claimed

    def _claim(self, tenant_id: str, run_id: str) -> "Walk | _Refused | None":
        now = self.service.clock.now()
        with self.service.database.write() as tx:
            run = runs.claim(tx, tenant_id, run_id, worker=self.worker, now=now)
            if run is None:
                return None
            is_fresh = run.attempt == 1 and run.retry_of is None
            before = [] if is_fresh else runs.steps(tx, tenant_id, run_id)
            try:
                _check_attempts(run, before)
                template = self._template(run)
            except CdpError as error:
                log.exception("run given up", tenant_id=tenant_id, run_id=run_id)
                return _Refused(run=run, before=before, error=error)
            mine = Claim(run=run, tenant=tenants.get(tx, tenant_id), template=template)
            walk = Walk(process=self, claim=mine, records={step.step_id: step for step in before})
            walk.begin(tx)
        return walk

    def outlast(self, act: Callable[[], T]) -> T:
        return outlast(act, until=self._broken_off)

    def token(self, run_id: str, step: Step, *, is_cancelled: bool) -> CancelToken:
        """What ends the step from outside. A cancelled run still has its terminal steps."""
        token = self.tokens.setdefault(run_id, CancelToken())
        if step.trigger is StepTrigger.ALWAYS:
            if is_cancelled:
                self.cancel(run_id)
        elif run_id not in self.closing:
            # In this order, so that a cancel that comes meanwhile finds the old token, or none.
            self.closing.add(run_id)
            before, token = token, CancelToken()
            self.tokens[run_id] = token
            if before.reason is not None and before.reason.code == STOPPING:
                token.trip(before.reason)
        return token

    def _give_up(self, refused: "_Refused") -> None:
        run, error, now = refused.run, refused.error, self.service.clock.now()
        cut_off = [
            record.failed(replace(step, attempt=run.attempt), error, now=now)
            for step in refused.before
            if step.status not in ENDED
        ]
        self.outlast(partial(end, self.service, run, Status.FAILED, error, last_steps=cut_off))

    def _template(self, run: Run) -> Template:
        """The template as it was when the run was admitted. Raises Invalid."""
        known = (run.template, run.template_hash)
        if known not in self._templates:
            models = step_models(self.service.step_types)
            self._templates[known] = from_snapshot(run.template, run.snapshot, models)
        return self._templates[known]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refused:
    """A claimed run that cannot be executed, and what it has done before."""

    run: Run
    before: Sequence[StepRun]
    error: CdpError


def _check_attempts(run: Run, before: Iterable[StepRun]) -> None:
    """Raise StepFailed for a run that comes no further. A step that ended, or was handed over in
    good order, begins the count anew: many restarts end no run.
    """
    last = max((step.attempt for step in before if step.status is not Status.RUNNING), default=0)
    if run.attempt - last > MAX_ATTEMPTS:
        raise StepFailed(
            f"given up: {MAX_ATTEMPTS} attempts were cut off before a step came to its end",
            code="too_many_attempts",
            hint="see the log for what ended the process; then run it again",
        )
