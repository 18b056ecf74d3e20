"""Say what a run would do, and what would stop it. Nothing is written, and no row is read."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from convergence.engine.agree import check_warehouse
from convergence.engine.attempt import checked_settings
from convergence.engine.bind import NoSourceError, bind_run
from convergence.engine.launch import check_may_run, with_kinds
from convergence.engine.names import built_ins, late_names
from convergence.engine.service import Service
from convergence.errors import CdpError
from convergence.model import binding, graph, quota
from convergence.model.quota import Use
from convergence.model.run import LaunchRequest, Run, RunFilter, Status, StepRun
from convergence.model.source import Kind
from convergence.model.template import Step, StepTrigger, Template
from convergence.model.tenant import Limits, Terms
from convergence.steps.base import Loading, StepPlace
from convergence.store import runs, sources, subscriptions, tenants, usage
from convergence.store.database import ReadTx
from convergence.warehouse.errand import Errand, on_errand
from convergence.warehouse.folders import without_folders
from convergence.warehouse.question import Explained, Scope, Value

NO_RUN = "00000000-0000-0000-0000-000000000000"
"""What `{run_id}` is in a plan."""
NO_SOURCE = "no.such.source"
"""What a source variable is in a plan when none fits, or several do."""

_OUTCOME = {StepTrigger.ON_FAILURE: Status.FAILED, StepTrigger.ALWAYS: Status.RUNNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedValue:
    """What `{name}` would be, and who says so: built-in, template, tenant, request, only source;
    or nobody, where that is missing.
    """

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why the run would be refused, or a step of it would fail."""

    code: str
    detail: str
    hint: str
    step_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """A step with its settings filled; `table` and `explained` are there when it loads."""

    step: Step
    settings: Mapping[str, Any]
    table: str | None = None
    explained: Explained | None = None
    last_rows: int | None = None
    """What it wrote when the pipeline last completed."""
    obstacle: Obstacle | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """`use` is what the quota has been used for without this run."""

    run: Run
    values: Sequence[NamedValue]
    steps: Sequence[StepPlan]
    limits: Limits
    use: Use
    obstacles: Sequence[Obstacle]
    last_run: Run | None
    price_per_tib: Decimal
    """Dollars, where the warehouse bills for what it reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What one sight of the store gave."""

    terms: Terms
    run: Run
    use: Use
    live: Run | None
    last_run: Run | None
    last_steps: Sequence[StepRun]
    scope: Scope
    sourceless: Mapping[str, Obstacle] = field(default_factory=dict)
    """By variable: why it is not known which source it is."""


def plan(service: Service, request: LaunchRequest) -> RunPlan:
    """What `launch` of the same request would begin.

    Raises NotFound (template, tenant) and Invalid (names, date) as `launch` does; all else that
    would stop the run is told in the plan.
    """
    binding.check_trigger_by(request.trigger_by)
    template = service.library.get(request.template)
    found = _find(service, request, template)
    steps = [_step_plan(service, found, template, step) for step in _in_order(template)]
    stopping = [*_refusals(service, found), *(each.obstacle for each in steps if each.obstacle)]
    return RunPlan(
        run=found.run,
        values=list(_values(service, found, request, template)),
        steps=steps,
        limits=found.terms.limits,
        use=found.use,
        obstacles=stopping,
        last_run=found.last_run,
        price_per_tib=service.config.price_per_tib,
    )


def _find(service: Service, request: LaunchRequest, template: Template) -> _Found:
    """A source variable that cannot be told gets a name that no source has."""
    sourceless: dict[str, Obstacle] = {}
    while True:
        unknown = dict.fromkeys(sourceless, NO_SOURCE)
        asked = replace(request, variables={**request.variables, **unknown})

        def find(kinds: Mapping[str, Kind], asked: LaunchRequest = asked) -> _Found:
            return _look(service, asked, template, kinds, sourceless)

        try:
            return replace(with_kinds(service, find), sourceless=sourceless)
        except NoSourceError as error:
            sourceless[error.variable] = _obstacle(error)


def _look(
    service: Service,
    request: LaunchRequest,
    template: Template,
    kinds: Mapping[str, Kind],
    sourceless: Collection[str],
) -> _Found:
    tenant_id = request.tenant_id
    with service.database.read() as tx:
        terms = _terms(tx, tenant_id)
        run = bind_run(
            service,
            tx,
            terms,
            request=request,
            template=template,
            kinds=kinds,
            sourceless=sourceless,
        )
        last_run, last_steps = _last(tx, run)
        return _Found(
            terms=terms,
            run=replace(run, run_id=NO_RUN),
            use=usage.use(tx, tenant_id, run.created_at.date()),
            live=runs.live(
                tx,
                tenant_id,
                pipeline_id=run.pipeline_id,
                run_date=run.run_date,
                parameter_hash=run.parameter_hash,
            ),
            last_run=last_run,
            last_steps=last_steps,
            scope=Scope(
                project=service.config.project,
                tenant_id=tenant_id,
                datasets=frozenset({terms.tenant.dataset}),
                sources=sources.granted(tx, tenant_id),
            ),
        )


def _terms(tx: ReadTx, tenant_id: str) -> Terms:
    """As admission has them, but without a lock."""
    return Terms(
        tenant=tenants.get(tx, tenant_id),
        limits=tenants.limits(tx, tenant_id),
        variables=tenants.variables(tx, tenant_id),
        subscription=subscriptions.get(tx, tenant_id),
    )


def _last(tx: ReadTx, run: Run) -> tuple[Run | None, Sequence[StepRun]]:
    completed = RunFilter(statuses=frozenset({Status.COMPLETED}), pipeline_id=run.pipeline_id)
    newest = runs.page(tx, run.tenant_id, completed, limit=1, before=None)
    if not newest:
        return None, ()
    return newest[0], runs.steps(tx, run.tenant_id, newest[0].run_id)


def _in_order(template: Template) -> list[Step]:
    """Ordinary steps as they wait for one another, then those that follow the run's outcome."""
    ordinary = [step for step in template.steps if step.trigger is StepTrigger.ALWAYS]
    following = [step for step in template.steps if step.trigger is not StepTrigger.ALWAYS]
    levels = graph.levels(ordinary) + graph.levels(following)
    return [step for level in levels for step in level]


def _values(
    service: Service, found: _Found, request: LaunchRequest, template: Template
) -> Iterator[NamedValue]:
    run, stored = found.run, found.terms.variables
    for name, variable in template.variables.items():
        if name in found.sourceless:
            origin = "missing"
        elif name in request.variables:
            origin = "request"
        elif name in stored:
            origin = "tenant"
        elif variable.default is not None:
            origin = "template"
        else:
            origin = "only source" if variable.source else "built-in"
        yield NamedValue(name=name, value=run.parameters[name], origin=origin)
    for name, value in _built_ins(service, found, template).items():
        if name not in template.variables:
            yield NamedValue(name=name, value=value, origin="built-in")
    yield NamedValue(name="pipeline_id", value=run.pipeline_id, origin="built-in")


def _built_ins(service: Service, found: _Found, template: Template) -> dict[str, str]:
    run = found.run
    return built_ins(
        service, found.terms.tenant, template, run_date=run.run_date, trigger_by=run.trigger_by
    )


def _refusals(service: Service, found: _Found) -> Iterator[Obstacle]:
    """What would keep the run from being accepted."""
    if found.live is not None:
        yield Obstacle(
            code="run_live",
            detail=f"run {found.live.run_id} of the same day is {found.live.status}: "
            "it would be returned, and nothing begun",
            hint=f"cdp runs watch {found.live.run_id}",
        )
    yield from found.sourceless.values()
    try:
        check_may_run(found.terms, service.clock.now().date())
        check_warehouse(service, found.terms.tenant)
        quota.check_quota(found.terms.limits, found.use)
    except CdpError as error:
        yield _obstacle(error)


def _step_plan(service: Service, found: _Found, template: Template, step: Step) -> StepPlan:
    step_type = service.step_types[step.ps_type]
    last = next((each for each in found.last_steps if each.step_id == step.step_id), None)
    bare = StepPlan(step=step, settings=step.settings, last_rows=last.rows if last else None)
    try:
        names = _names(service, found, template, step)
        tree = binding.fill(step.settings, names, unfilled=step_type.unfilled)
        filled = replace(bare, settings=tree)
        if found.sourceless or not isinstance(step_type, Loading):
            return filled
        settings = checked_settings(step, step_type.settings, tree)
        request = step_type.request(settings, _place(found, names))
        with on_errand(Errand(max_bytes=getattr(settings, "maximum_bytes_billed", None))):
            explained = service.warehouse.explain_load(request)
    except CdpError as error:
        error.detail = without_folders(error.detail, found.scope.sources)
        return replace(bare, obstacle=_obstacle(error, step))
    table = f"{request.dataset}.{request.table}"
    return replace(filled, table=table, explained=explained, obstacle=_missing(explained, step))


def _names(service: Service, found: _Found, template: Template, step: Step) -> Mapping[str, Value]:
    status = _OUTCOME.get(step.trigger, Status.COMPLETED)
    error = "(what went wrong)" if status is Status.FAILED else ""
    late = late_names(service, found.run, step, status=status, error=error)
    known = {**_built_ins(service, found, template), **found.run.parameters, **late}
    return binding.step_names(step.variables, known)


def _place(found: _Found, names: Mapping[str, Value]) -> StepPlace:
    return StepPlace(
        tenant_id=found.run.tenant_id,
        run_id=found.run.run_id,
        run_date=found.run.run_date,
        dataset=found.terms.tenant.dataset,
        scope=found.scope,
        names=names,
    )


def _missing(explained: Explained, step: Step) -> Obstacle | None:
    """A source that has no file at all."""
    empty = [read.source for read in explained.reads if not read.matched]
    if not empty:
        return None
    return Obstacle(
        code="source_missing",
        detail=f"{', '.join(empty)} has no file",
        hint="cdp sources ls shows where its files are looked for",
        step_id=step.step_id,
    )


def _obstacle(error: CdpError, step: Step | None = None) -> Obstacle:
    step_id = step.step_id if step else None
    return Obstacle(code=error.code, detail=error.detail, hint=error.hint, step_id=step_id)
