"""Where the rows of one day come from, when more than one step and source have brought them."""

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from convergence.engine.lineage import trace
from convergence.engine.service import Service
from convergence.library import Library
from convergence.model.cost import CostQuery
from convergence.model.lineage import Origin
from convergence.model.run import Status
from convergence.steps.base import step_models
from convergence.warehouse.schemas import billing_query
from tests.conftest import EXPORT, HEADER, export_line, grant_export
from tests.engine.test_sync import OLD, run_sync

Export = Callable[..., Path]
OTHER = f"{EXPORT}_other"
OWN = "cost > -99"
"""Of the second step's query alone."""


@pytest.fixture
def other(service: Service, export: Export, tmp_path: Path) -> Path:
    """Files of a second source, which a second step of the template loads."""
    grant_export(service, tmp_path / "other/*.csv", "acme", OTHER)
    configs = tmp_path / "configs"
    shutil.copytree(service.library.directory, configs)
    template = configs / "gcp/cost/cost_sync.yml"
    head, begin, rest = template.read_text().partition("  - step_id: sync_billing_costs\n")
    first, notify, rest = rest.partition("  - step_id: notify_on_failure\n")
    first = f"{begin}{first}".replace("    source:\n", "    allow_overlap: true\n    source:\n")
    query = f"{billing_query()}  AND {OWN}".replace("\n", "\n        ")
    second = first.replace("sync_billing_costs", "sync_other").replace(
        'table: "{source_billing_table}"', f"table: {OTHER}\n      query: |\n        {query}", 1
    )
    template.write_text(f"{head}{first}{second}{notify}{rest}")
    service.library = Library(configs, step_models(service.step_types))
    (tmp_path / "other").mkdir()
    return tmp_path / "other"


def origins(service: Service) -> dict[str, Origin]:
    question = CostQuery(date_from=date.min, date_to=date.max)
    return {each.source: each for each in trace(service, "acme", question, limit=10)}


def test_a_day_of_two_sources_leads_to_the_step_and_the_changes_of_each(
    service: Service, export: Export, other: Path
) -> None:
    export((OLD, "1", "", "202410"))
    (other / "a.csv").write_text("\n".join([HEADER, export_line(OLD, "2", "", "202410")]) + "\n")
    run = run_sync(service, source=EXPORT)
    assert run.status is Status.COMPLETED, run.error
    export((OLD, "4", "", "202410"), name="late.csv")
    assert run_sync(service, source=EXPORT).status is Status.COMPLETED
    found = origins(service)
    assert {source: OWN in origin.sql for source, origin in found.items()} == {
        EXPORT: False,
        OTHER: True,
    }
    assert {source: len(origin.restatements) for source, origin in found.items()} == {
        EXPORT: 1,
        OTHER: 0,
    }
