"""Beside the schema: what drifted in each dataset, and bringing it back.

Reads the live catalogue, compares (`model/drift.py`), applies what may be applied, and reads
again: what is reported is what was seen afterwards. What was done to a dataset is recorded in its
`x_meta_schema_migrations`. A broken dataset does not stop the others.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from convergence.engine import adopt, ensure
from convergence.engine.at_schema import State, TableState
from convergence.engine.hold import hold_table
from convergence.engine.service import Service
from convergence.errors import CdpError, Conflict, NotFound
from convergence.model import retired
from convergence.model.drift import Drift, DriftKind, Verdict, compare
from convergence.model.table import Mode, TableSchema
from convergence.outside.logs import Log
from convergence.store import fleet, loads, moves, tenants, versions
from convergence.warehouse import history
from convergence.warehouse.schemas import central_schemas, load_schema, tenant_schemas
from convergence.warehouse.sql.names import CENTRAL_DATASET

log = Log(__name__)


_WITHOUT_ROWS = {DriftKind.TABLE, DriftKind.COLUMN}
"""What is made has nothing yet of what was published."""


def status(service: Service, tenant_id: str | None = None) -> list[TableState]:
    """Every table of every dataset beside its schema; nothing is changed."""
    seen = [
        _look(service, dataset, schema)
        for dataset in _datasets(service, tenant_id)
        for schema in _schemas(dataset)
    ]
    return seen if tenant_id else [*seen, *_retired_states(service)]


def bootstrap(service: Service) -> tuple[bool, list[TableState]]:
    """Make the operator's dataset with its tables, beside a store that is made by its opening.

    Whether it was made now, and its tables; safe to repeat.
    """
    is_new = ensure.ensure_central(service)
    return is_new, [_look(service, CENTRAL_DATASET, each) for each in _schemas(CENTRAL_DATASET)]


def bring(
    service: Service,
    tenant_id: str | None = None,
    *,
    approved: bool = False,
    is_plan: bool = False,
) -> list[TableState]:
    """Make and reshape what is not current; every table as it is then."""
    seen = [
        state
        for dataset in _datasets(service, tenant_id)
        for state in _bring_dataset(service, dataset, approved=approved, is_plan=is_plan)
    ]
    if tenant_id:
        return seen
    return [*seen, *(_retired_states(service) if is_plan else _adopt(service))]


def _retired_states(service: Service) -> list[TableState]:
    """The tables of the dataset under its retired name, if that is there."""
    try:
        found = adopt.retired_tables(service)
    except CdpError as error:
        broken = TableState(place=retired.DATASET, table="(all)")
        return [replace(broken, error=error.detail, hint=error.hint)]
    kind, verdict = DriftKind.RETIRED, Verdict.ADDITIVE
    return [
        TableState(
            place=retired.DATASET,
            table=old,
            drifts=(Drift(table=old, kind=kind, verdict=verdict, wanted=schema.name),),
        )
        for old, schema in found.items()
    ]


def _adopt(service: Service) -> list[TableState]:
    """Move all of its tables, then drop it; what stands in the way is told, and stays."""
    seen = _retired_states(service)
    if not seen or any(state.error for state in seen):
        return seen
    done = [_adopted(service, state) for state in seen]
    if any(state.error for state in done):
        return done
    try:
        adopt.drop_retired(service)
    except CdpError as error:
        kept = TableState(place=retired.DATASET, table="(all)")
        return [*done, replace(kept, error=error.detail, hint=error.hint)]
    return done


def _adopted(service: Service, state: TableState) -> TableState:
    schema = load_schema(state.drifts[0].wanted)
    try:
        moved = adopt.adopt(service, state.table, schema)
    except CdpError as error:
        return replace(state, error=error.detail, hint=error.hint)
    said = f"moved {moved} rows to {CENTRAL_DATASET}.{schema.name}"
    log.info("retired table moved", table=state.table, rows=moved)
    return replace(state, drifts=(), statements=(said,))


def _bring_dataset(
    service: Service, dataset: str, *, approved: bool, is_plan: bool
) -> list[TableState]:
    found = [
        _bring(service, dataset, schema, approved=approved, is_plan=is_plan)
        for schema in _schemas(dataset)
    ]
    if is_plan:
        return found
    if any(_is_emptied(service, dataset, each) for each in found):
        _look_anew(service, dataset)
    elif any(each.statements for each in found):
        _forget_answers(service, dataset)
    if dataset != CENTRAL_DATASET:
        try:
            _record(service, dataset, found)
        except CdpError as error:
            log.warning("migration not recorded", dataset=dataset, error=error.detail)
    return found


@contextmanager
def _held(service: Service, dataset: str, schema: TableSchema, seen: TableState) -> Iterator[None]:
    """While inside, nothing is loaded into a table that is written anew: where many processes
    load, a day that one of them publishes meanwhile would be lost. Raises Conflict.
    """
    with service.database.read() as tx:
        tenant = fleet.tenant_of_dataset(tx, dataset)
        live = fleet.live_runs(tx).values()
    is_shared = service.config.is_warehouse_shared
    if tenant is None or not is_shared or not _is_rewritten(schema, seen):
        yield
        return
    hint = "run it again when they have ended; cdp runs ls"
    if tenant.tenant_id in live:
        raise Conflict(f"{dataset} has live runs, which may write to it", hint=hint)
    with hold_table(service, dataset, tenant.tenant_id, schema.name):
        yield


def _is_rewritten(schema: TableSchema, seen: TableState) -> bool:
    required = {column.name for column in schema.columns if column.mode is Mode.REQUIRED}
    return any(
        drift.kind in {DriftKind.TYPE, DriftKind.MODE}
        or (drift.kind is DriftKind.COLUMN and drift.column in required)
        for drift in seen.drifts
    )


def _is_emptied(service: Service, dataset: str, seen: TableState) -> bool:
    """Whether a table was made now that rows had been loaded into."""
    if not seen.was_absent or seen.state is not State.CURRENT:
        return False
    with service.database.read() as tx:
        tenant = fleet.tenant_of_dataset(tx, dataset)
        return tenant is not None and loads.last_day(tx, tenant.tenant_id, seen.table) is not None


def _look_anew(service: Service, dataset: str) -> None:
    """What is known of the sources was of rows that are gone: the next sync loads them again."""
    with service.database.write() as tx:
        tenant = fleet.tenant_of_dataset(tx, dataset)
        if tenant is not None:
            moves.look_anew(tx, tenant.tenant_id)
            log.warning("tables were made anew", dataset=dataset, tenant_id=tenant.tenant_id)


def _forget_answers(service: Service, dataset: str) -> None:
    """Those that are kept were of the tables as they were."""
    with service.database.write() as tx:
        tenant = fleet.tenant_of_dataset(tx, dataset)
        if tenant is not None:
            versions.advance(tx, tenant.tenant_id)


def _record(service: Service, dataset: str, found: Sequence[TableState]) -> None:
    """What was done, and what is at its schema now and was not recorded so. What a crash leaves
    out is recorded the next time, without its statements: those are in the log.
    """
    project, warehouse = service.config.project, service.warehouse
    known = history.checksums(warehouse, project, dataset)
    checksums = {schema.name: schema.checksum for schema in _schemas(dataset)}
    now = {
        seen.table: (checksums[seen.table] if seen.state is State.CURRENT else "", seen.statements)
        for seen in found
    }
    done = {
        table: (checksum, statements)
        for table, (checksum, statements) in now.items()
        if statements or checksum not in {"", known.get(table)}
    }
    if done:
        history.record(warehouse, project, dataset, done, now=service.clock.now())


def _datasets(service: Service, tenant_id: str | None) -> list[str]:
    """The operator's dataset has copies alone; it should be there once something was published."""
    with service.database.read() as tx:
        if tenant_id is not None:
            return [tenants.get(tx, tenant_id).dataset]
        found = sorted(fleet.datasets(tx, service.config.warehouse))
        has_published = fleet.has_published(tx, service.config.warehouse)
    try:
        if not (has_published or ensure.is_central_there(service)):
            return found
    except CdpError as error:
        log.warning("the operator's dataset cannot be read", error=error.detail)
    return [*found, CENTRAL_DATASET]


def _schemas(dataset: str) -> list[TableSchema]:
    own = [] if dataset == CENTRAL_DATASET else list(tenant_schemas().values())
    return own + list(central_schemas().values())


def _look(service: Service, dataset: str, schema: TableSchema) -> TableState:
    try:
        drifts = compare(schema, service.warehouse.live(dataset, schema))
    except NotFound as gone:
        seen = TableState(place=dataset, table=schema.name, drifts=compare(schema, None))
        return replace(seen, is_gone=True, hint=f"{gone.detail}; {gone.hint}")
    except CdpError as error:
        seen = TableState(place=dataset, table=schema.name)
        return replace(seen, error=error.detail, hint=error.hint)
    return TableState(place=dataset, table=schema.name, drifts=drifts)


def _bring(
    service: Service, dataset: str, schema: TableSchema, *, approved: bool, is_plan: bool
) -> TableState:
    seen = _look(service, dataset, schema)
    if not seen.drifts:
        return seen
    if is_plan and seen.is_gone:
        return replace(seen, statements=(f"CREATE TABLE {schema.name}",))
    evolve = partial(service.warehouse.evolve, dataset, schema, approved=approved)
    try:
        if is_plan:
            return replace(seen, statements=tuple(evolve(is_plan=True)))
        statements = _reshape(service, dataset, schema, seen, evolve)
    except CdpError as error:
        return replace(seen, error=error.detail, hint=error.hint)
    for statement in statements:
        log.info("schema changed", dataset=dataset, statement=statement)
    was_absent = seen.drifts[0].kind is DriftKind.TABLE
    return replace(_look(service, dataset, schema), statements=statements, was_absent=was_absent)


def _reshape(
    service: Service,
    dataset: str,
    schema: TableSchema,
    seen: TableState,
    evolve: Callable[[], Sequence[str]],
) -> tuple[str, ...]:
    """The statements that were run. What the store publishes to the table is due again before it
    is made: a crash between loses none of it.
    """
    if schema.key and any(drift.kind in _WITHOUT_ROWS for drift in seen.drifts):
        ensure.publish_anew(service, dataset)
    made = (f"CREATE SCHEMA {dataset}",) if seen.is_gone else ()
    if seen.is_gone:
        service.warehouse.ensure_dataset(dataset)
    with _held(service, dataset, schema, seen):
        statements = (*made, *evolve())
    if schema.key and _is_rewritten(schema, seen):
        # What was published meanwhile may have gone to the old one.
        ensure.publish_anew(service, dataset)
    return statements
