"""Make of a request the run it asks for: names get values, a source variable the only source."""

from collections.abc import Collection, Mapping, Sequence, Set
from datetime import timedelta
from uuid import uuid4

from convergence.engine.names import built_ins
from convergence.engine.service import Service
from convergence.errors import Invalid
from convergence.model import binding
from convergence.model.run import LaunchRequest, Run, Status
from convergence.model.source import GCP_KINDS, GrantedSource, Kind
from convergence.model.template import SourceFamily, Template
from convergence.model.tenant import Tenant, Terms
from convergence.store import sources
from convergence.store.database import ReadTx

SHOWN = 10
"""Sources that a hint names."""
NO_SOURCES = "the operator adds one: cdp sources add PROJECT.DATASET.TABLE --files GLOB"


class UnseenError(Exception):
    """Which kind of export `source` is can only be told from its files."""

    def __init__(self, source: GrantedSource) -> None:
        super().__init__(source.table)
        self.source = source


class NoSourceError(Invalid):
    """Which source `variable` is cannot be told: the tenant has none that fits, or several."""

    def __init__(self, variable: str, detail: str, *, code: str, hint: str) -> None:
        super().__init__(detail, code=code, hint=hint)
        self.variable = variable


def bind_run(  # noqa: PLR0913 - what makes a run, all by name
    service: Service,
    tx: ReadTx,
    terms: Terms,
    *,
    request: LaunchRequest,
    template: Template,
    kinds: Mapping[str, Kind],
    sourceless: Collection[str] = (),
) -> Run:
    """The PENDING run, not stored yet. `kinds` are those of AUTO sources, by table; one that stays
    AUTO fits any template. `sourceless` variables may name what is no source.

    Raises Invalid (names, values), NoSourceError, and UnseenError for a kind that is not in
    `kinds`.
    """
    now, tenant = service.clock.now(), terms.tenant
    stored = {name: value for name, value in terms.variables.items() if name in template.variables}
    unset = template.variables.keys() - stored.keys() - request.variables.keys()
    run_date = request.run_date or (now.date() - timedelta(days=1))
    found = _only_sources(tx, tenant, template, unset, kinds=kinds)
    bound = binding.bind(
        template,
        tenant_values=stored | found,
        request_values=request.variables,
        builtins=built_ins(
            service, tenant, template, run_date=run_date, trigger_by=request.trigger_by
        ),
    )
    said = template.source_variables - found.keys() - set(sourceless)
    if said:
        tables = {name: bound.parameters[name] for name in sorted(said)}
        _check_granted(tx, tenant, tables, project=service.config.project)
    return Run(
        run_id=str(uuid4()),
        tenant_id=tenant.tenant_id,
        template=template.ref,
        pipeline_id=bound.pipeline_id,
        run_date=run_date,
        status=Status.PENDING,
        trigger=request.trigger,
        trigger_by=request.trigger_by,
        parameters=bound.parameters,
        parameter_hash=bound.parameter_hash,
        snapshot=template.raw,
        template_hash=template.digest,
        created_at=now,
        allow_shrink=request.allow_shrink,
        is_sample=any(step.settings.get("limit") is not None for step in template.steps),
    )


def _only_sources(
    tx: ReadTx, tenant: Tenant, template: Template, unset: Set[str], *, kinds: Mapping[str, Kind]
) -> dict[str, str]:
    """A source variable that nothing sets is the tenant's only source of its family."""
    wanting = {
        name: family
        for name, variable in template.variables.items()
        if (family := variable.source) and variable.default is None and name in unset
    }
    granted = sources.granted(tx, tenant.tenant_id) if wanting else ()
    found = {}
    for name, family in wanting.items():
        wanted = GCP_KINDS if family is SourceFamily.GCP else {Kind.FOCUS}
        fitting = [
            source.table for source in granted if _kind(source, kinds) in {*wanted, Kind.AUTO}
        ]
        if len(fitting) != 1:
            raise _source_problem(name, family, sorted(fitting))
        found[name] = fitting[0]
    return found


def _check_granted(tx: ReadTx, tenant: Tenant, tables: Mapping[str, str], *, project: str) -> None:
    """Raise NoSourceError for a variable that names what the tenant may not read, as a source that
    there is not. Within the project its name may be left out.
    """
    granted = {source.table for source in sources.granted(tx, tenant.tenant_id)}
    for name, table in tables.items():
        if not granted & {table, f"{project}.{table}"}:
            known = ", ".join(sorted(granted)[:SHOWN])
            raise NoSourceError(
                name,
                f"{name}: {table[:200]!r} is no source of this tenant",
                code="source_not_found",
                hint=f"its sources are: {known}" if known else NO_SOURCES,
            )


def _kind(source: GrantedSource, kinds: Mapping[str, Kind]) -> Kind:
    if source.kind is not Kind.AUTO:
        return source.kind
    if source.table not in kinds:
        raise UnseenError(source)
    return kinds[source.table]


def _source_problem(name: str, family: SourceFamily, fitting: Sequence[str]) -> NoSourceError:
    if not fitting:
        return NoSourceError(
            name,
            f"{name}: no source of kind {family} is granted to this tenant",
            code="source_not_found",
            hint=NO_SOURCES,
        )
    return NoSourceError(
        name,
        f"{name}: several sources of kind {family} fit: {', '.join(fitting)}",
        code="source_ambiguous",
        hint=f"name one of them as the variable {name}, for example {fitting[0]}",
    )
