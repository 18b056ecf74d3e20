"""Templates: list, show, validate, and what a run of one would do."""

from fastapi import APIRouter

from convergence.api import paging, wire
from convergence.api.auth import Anyone
from convergence.api.paging import Cursor, Limit
from convergence.engine.plan import plan
from convergence.errors import Invalid
from convergence.library import parse
from convergence.model.run import Trigger

router = APIRouter(prefix="/api/v1", tags=["templates"])

SENT = "template.yml"
"""What a text that was sent is called in its faults."""


@router.get("/pipelines/templates", operation_id="list_templates")
def list_templates(
    door: Anyone, limit: Limit = paging.DEFAULT, cursor: Cursor = None
) -> wire.Page[wire.TemplateOut]:
    """The valid templates, by name."""
    valid = list(door.service.library.valid())
    found = paging.after_name(valid, limit, cursor, name=lambda each: each.ref)
    return paging.page_of(found, limit, key=lambda each: (each.ref,), show=wire.template_out)


@router.post("/templates/validate", operation_id="check_template")
@router.post("/pipelines/templates/validate", operation_id="validate_template")
def validate_template(door: Anyone, wanted: wire.TemplateText) -> wire.Validated:
    """200, or 422 with every fault: file, line, column, message, suggestion."""
    models = door.service.library.step_models
    parse(wanted.yaml, file=SENT, ref="sent/sent/template", step_models=models)
    return wire.Validated()


@router.get("/pipelines/templates/{provider}/{domain}/{template_name}", operation_id="get_template")
def get_template(
    door: Anyone, provider: str, domain: str, template_name: str
) -> wire.TemplateShown:
    """A template's variables, steps and text."""
    ref = f"{provider}/{domain}/{template_name}"
    library = door.service.library
    return wire.template_shown(library.get(ref), library.text(ref))


@router.post("/templates/{provider}/{domain}/{template_name}/plan", operation_id="plan_template")
@router.post(
    "/pipelines/templates/{provider}/{domain}/{template_name}/plan", operation_id="plan_run"
)
def plan_run(
    door: Anyone,
    provider: str,
    domain: str,
    template_name: str,
    wanted: wire.RunIn,
    tenant_id: str | None = None,
) -> wire.PlanOut:
    """What a run would do, and what would stop it; the body is that of a run. Changes nothing."""
    whose = door.tenant_or_all(tenant_id)
    if whose is None:
        raise Invalid("say for which tenant", code="tenant_missing", hint="?tenant_id=…")
    ref = f"{provider}/{domain}/{template_name}"
    now = door.service.clock.now()
    request = wanted.to_request(whose, ref, trigger=Trigger.API, now=now)
    with door.state.queries.of(whose):
        return wire.plan_out(plan(door.service, request))
