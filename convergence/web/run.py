"""A run: the error first, with what to do; its steps, what they proved, and its log."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from convergence.engine.cancel import cancel
from convergence.engine.retry import retry
from convergence.engine.service import Service
from convergence.errors import NotFound
from convergence.model.event import Event
from convergence.model.key import Scope
from convergence.model.load import Load
from convergence.model.money import MoneyKey, Total
from convergence.model.run import RetryRequest, Run, StepRun
from convergence.model.template import StepTrigger
from convergence.store import events, fleet, loads, runs
from convergence.web.problems import PageRoute
from convergence.web.render import page
from convergence.web.visitor import Acting, Looking, Visitor
from convergence.web.words import to

router = APIRouter(route_class=PageRoute, include_in_schema=False)

RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOST_EVENTS = 500
MOST_LOADS = 200
TRY = " (try: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """Totals of a load beside the source's; `theirs` None: it was not compared with a source."""

    load: Load
    key: MoneyKey
    ours: Total
    theirs: Total | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToCome:
    """A step that has not begun, as the template has it; `when` it runs, if not always."""

    step_id: str
    name: str
    ps_type: str
    when: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the page has of a run."""

    run: Run
    steps: Sequence[StepRun]
    proofs: Sequence[Proved]
    log: Sequence[Event]
    has_more: bool

    @property
    def to_come(self) -> Sequence[ToCome]:
        """The steps of a live run that have not begun."""
        begun = {step.step_id for step in self.steps}
        wanted = self.run.snapshot.get("steps", ()) if self.run.is_live else ()
        return [_to_come(step) for step in wanted if step["step_id"] not in begun]

    @property
    def command(self) -> str:
        """What runs the same work again."""
        run = self.run
        return f"cdp run {run.template} --tenant {run.tenant_id} --date {run.run_date}"

    @property
    def error(self) -> tuple[str, str]:
        """What happened, and what to do: an error's text has both."""
        text = self.run.error or ""
        what, found, hint = text.removesuffix(")").rpartition(TRY)
        return (what, hint) if found and text.endswith(")") else (text, "")

    def briefly(self, text: str) -> str:
        """The text without the error that stands above already, once, in its box."""
        whole = self.run.error
        if not whole or self.run.is_live:
            return text
        said = (whole, *(step.error for step in self.steps if step.error and step.error in whole))
        for error in said:
            if text.endswith(error):
                return text.removesuffix(error).rstrip(": ")
        return text


@router.get("/runs/{run_id}")
def show(visitor: Looking, request: Request, run_id: str) -> Response:
    shown = read(visitor.service, whose(visitor, run_id), run_id)
    return page(request, "run.html", visitor=visitor, here="runs", shown=shown)


@router.post("/runs/{run_id}/cancel")
def cancel_run(actor: Acting, run_id: str) -> Response:
    """End the run, and show it again."""
    actor.caller.require_scopes({Scope.EXECUTE})
    cancel(actor.service, whose(actor, run_id), run_id)
    return _shown(actor, run_id)


@router.post("/runs/{run_id}/retry")
def retry_run(actor: Acting, run_id: str) -> Response:
    """Do again what the run did not finish, and show the new run."""
    actor.caller.require_scopes({Scope.EXECUTE})
    tenant_id = whose(actor, run_id)
    retried = retry(
        actor.service, RetryRequest(tenant_id=tenant_id, run_id=run_id, trigger_by="dashboard")
    )
    return _shown(actor, retried.run.run_id)


def _shown(visitor: Visitor, run_id: str) -> Response:
    return RedirectResponse(to(f"/runs/{run_id}", tenant=visitor.chosen), status_code=303)


def whose(visitor: Visitor, run_id: str) -> str:
    """The tenant of a run that the visitor may see. Raises NotFound for any other."""
    tenant_id = visitor.tenant.tenant_id if visitor.tenant else None
    if RUN_ID.fullmatch(run_id) and tenant_id is None:
        with visitor.service.database.read() as tx:
            tenant_id = fleet.run_tenant(tx, run_id)
    if tenant_id is None or not RUN_ID.fullmatch(run_id):
        raise NotFound(f"Pipeline run {run_id[:60]} not found", code="run_not_found")
    return tenant_id


def read(service: Service, tenant_id: str, run_id: str) -> Shown:
    """Raises NotFound."""
    with service.database.read() as tx:
        run = runs.get(tx, tenant_id, run_id)
        steps = runs.steps(tx, tenant_id, run_id)
        loaded = loads.of_run(tx, tenant_id, run_id, limit=MOST_LOADS)
        log = events.page(tx, tenant_id, run_id, limit=MOST_EVENTS + 1)
    return Shown(
        run=run,
        steps=steps,
        proofs=[proved for load in loaded for proved in _proved(load)],
        log=log[:MOST_EVENTS],
        has_more=len(log) > MOST_EVENTS,
    )


def _to_come(step: Mapping[str, Any]) -> ToCome:
    trigger = StepTrigger(step.get("trigger") or StepTrigger.ALWAYS)
    return ToCome(
        step_id=step["step_id"],
        name=step.get("name") or step["step_id"],
        ps_type=step["ps_type"],
        when="" if trigger is StepTrigger.ALWAYS else trigger.replace("_", " "),
    )


def _proved(load: Load) -> list[Proved]:
    ours, theirs = load.totals, load.source_totals
    return [
        Proved(
            load=load,
            key=key,
            ours=ours.get(key, Total()),
            theirs=theirs.get(key, Total()) if theirs else None,
        )
        for key in sorted(ours.keys() | theirs.keys())
    ]
