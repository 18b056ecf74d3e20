"""From a number to where it comes from: its rows' loads, their runs, queries and source state."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from convergence.engine import costs
from convergence.engine.costs import BILLING_TABLE
from convergence.engine.service import Service
from convergence.errors import CdpError
from convergence.model.cost import CostQuery
from convergence.model.lineage import Origin, Place
from convergence.model.load import Load, SourceState
from convergence.model.money import Total
from convergence.model.quality import QualityResult
from convergence.model.restatement import Restatement
from convergence.model.run import Run, StepRun
from convergence.model.source import GrantedSource
from convergence.store import loads, quality, restatements, runs, sources
from convergence.store.database import ReadTx
from convergence.warehouse.folders import facts_without_folders
from convergence.warehouse.schemas import billing_query
from convergence.warehouse.sql import fill

MOST_RESTATEMENTS = 50


def trace(
    service: Service,
    tenant_id: str,
    question: CostQuery,
    *,
    limit: int,
    after: Place | None = None,
    asker: costs.Asker = costs.ANYONE,
) -> list[Origin]:
    """The loads that hold the asked rows, the latest days first. Raises Invalid, NotFound."""
    found = _shown(service, tenant_id, question, asker)
    places = sorted(found, key=lambda key: (key[0], key[1]), reverse=True)
    chosen = [key for key in places if after is None or key[:2] < after][:limit]
    if not chosen:
        return []
    with service.database.read() as tx:
        known = _known(tx, tenant_id, chosen)
        granted = sources.granted(tx, tenant_id)
    return [_below(_origin(known, key, found[key]), granted) for key in chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the store knows of some places: their newest loads with quality by load, runs with
    their steps, and restatements.
    """

    loads: Mapping[Place, Load]
    quality: Mapping[str, QualityResult]
    runs: Mapping[str, Run]
    steps: Mapping[str, Sequence[StepRun]]
    restatements: Mapping[Place, Sequence[Restatement]]


def _known(tx: ReadTx, tenant_id: str, places: Sequence[tuple[date, str, str]]) -> _Known:
    first, last = places[-1][0], places[0][0]
    run_ids = {run_id for _, _, run_id in places}
    newest = loads.newest(tx, tenant_id, BILLING_TABLE, first=first, last=last)
    steps: dict[str, list[StepRun]] = defaultdict(list)
    for step in runs.steps_of(tx, tenant_id, run_ids):
        steps[step.run_id].append(step)
    return _Known(
        loads={(load.key.day, load.key.source): load for load in newest},
        quality=quality.of_loads(tx, tenant_id, [load.load_id for load in newest]),
        runs={run.run_id: run for run in runs.some(tx, tenant_id, run_ids)},
        steps=steps,
        restatements=restatements.by_place(
            tx, tenant_id, BILLING_TABLE, first=first, last=last, most=MOST_RESTATEMENTS
        ),
    )


def _shown(
    service: Service, tenant_id: str, question: CostQuery, asker: costs.Asker
) -> dict[tuple[date, str, str], dict[str, Total]]:
    shown: dict[tuple[date, str, str], dict[str, Total]] = defaultdict(dict)
    rows = costs.by_load(service, tenant_id, question, asker).rows
    for day, source, run_id, currency, count, cost, credit in rows:
        shown[day, source, run_id][currency or ""] = Total(count, cost, credit or Decimal(0))
    return shown


def _origin(known: _Known, key: tuple[date, str, str], shown: Mapping[str, Total]) -> Origin:
    day, source, run_id = key
    load = known.loads.get((day, source))
    load = load if load is not None and load.run_id == run_id else None
    run = known.runs.get(run_id) if load else None
    return Origin(
        day=day,
        source=source,
        run_id=run_id,
        shown=shown,
        load=load,
        run=run,
        sql=_sql(load, run, known.steps.get(run_id, ())) if load and run else "",
        quality=known.quality.get(load.load_id) if load else None,
        restatements=known.restatements.get((day, source), ()),
    )


def _below(origin: Origin, granted: Sequence[GrantedSource]) -> Origin:
    """The files by where they are below their source's folder."""
    if origin.load is None:
        return origin
    state = facts_without_folders(origin.load.source_state.to_json(), granted)
    return replace(origin, load=replace(origin.load, source_state=SourceState.from_json(state)))


def _sql(load: Load, run: Run, steps: Sequence[StepRun]) -> str:
    """The query as the step's report has it, else the snapshot's of the step that loaded the day:
    the first that loads, where an earlier version did.
    """
    for step in steps:
        if step.report.get("load_id") == load.load_id and step.report.get("sql"):
            return str(step.report["sql"])
    for step in run.snapshot["steps"]:
        if load.step_id not in {"", step["step_id"]}:
            continue
        source = {**step.get("config", {}), **step}.get("source")
        if isinstance(source, dict):
            return _filled(str(source.get("query") or billing_query()), load, run)
    return ""


def _filled(sql: str, load: Load, run: Run) -> str:
    names: dict[str, Any] = {
        **run.parameters,
        "tenant_id": run.tenant_id,
        "source_billing_table": load.key.source,
        "date": load.key.day,
    }
    try:
        return fill.fill(sql, names, {}).sql("bigquery", pretty=True)
    except CdpError:
        return sql  # it has names that only its step knew: they are shown as names
