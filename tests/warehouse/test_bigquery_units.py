"""Into what a table in BigQuery is divided, and by what it is told that a part of it changed."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from convergence.errors import StepFailed
from convergence.model.cancel import CancelToken
from convergence.model.load import FileState
from convergence.model.unit import Unit
from convergence.warehouse.bigquery import survey
from convergence.warehouse.bigquery.access import Clients
from tests.bigquery_rest.server import Running
from tests.warehouse.bigquery_exports import Export as Exported
from tests.warehouse.on_bigquery import Rows, on_bigquery

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant


def test_a_partition_that_an_earlier_version_knew_is_not_read_again() -> None:
    path = "p.billing.gcp_billing_export_v1_X$20251002"
    file = FileState(path=path, size=7, mtime_ns=1_759_363_200_000_000_000)
    kept = "e37d2d78dda5632615cdc8518aa1ce8e"
    nothing: frozenset[str] = frozenset()
    known = Unit(file=file, content_hash=kept, columns=nothing, accounts=nothing, days=())
    assert survey.same([file], {path: known}) == {path: known}
    other = replace(file, ctime_ns=1)
    assert survey.same([other], {path: known}) == {}


@pytest.fixture
def copy(tenant: "Tenant", clients: Clients, tmp_path: Path) -> Exported:
    """In place of the export, which has partitions by arrival."""
    (source,) = tenant.scope.sources
    clients.of("").delete_table(source.table)
    made = Exported(client=clients.of(""), table=source.table, scratch=tmp_path, by_arrival=False)
    made.create()
    return made


@on_bigquery
def test_a_copy_of_an_export_without_partitions_loads_and_its_changes_are_found(
    tenant: "Tenant", make_row: Rows, copy: Exported
) -> None:
    (source,) = tenant.scope.sources
    copy.write([make_row()], "first")
    assert tenant.load().rows == 1
    before = tenant.warehouse.files_of(source)
    found = [before]
    for change in (
        {"cost": 777.0},
        {"cost": 777.0, "credits": [{"amount": -1.0}]},
        {"cost": 777.0, "credits": [{"amount": -0.5}, {"amount": -0.5}]},
    ):
        copy.write([make_row(**change)], "first")
        corrected = tenant.warehouse.files_of(source)
        assert corrected not in found
        assert {unit.size for unit in corrected} == {0}
        found.append(corrected)
    copy.write([make_row(**change)], "first")
    assert tenant.warehouse.files_of(source) == found[-1]
    copy.write([make_row()], "late")
    assert tenant.warehouse.files_of(source) not in found


@on_bigquery
def test_rows_of_a_copy_that_were_changed_alike_are_found(
    tenant: "Tenant", make_row: Rows, copy: Exported
) -> None:
    (source,) = tenant.scope.sources
    copy.write([make_row(cost=1.0)] * 2, "first")
    before = tenant.warehouse.files_of(source)
    copy.write([make_row(cost=2.0)] * 2, "first")
    assert tenant.warehouse.files_of(source) != before


@on_bigquery
def test_a_copy_is_listed_whatever_its_amounts_are(
    tenant: "Tenant", make_row: Rows, copy: Exported
) -> None:
    (source,) = tenant.scope.sources
    copy.write([make_row(), make_row(cost=1e30, credits=[{"amount": float("nan")}])], "first")
    files = tenant.warehouse.files_of(source)
    assert len(files) == 1
    for refused in (
        tenant.stage,
        lambda: tenant.warehouse.survey("acme", source, files, {}, CancelToken()),
    ):
        with pytest.raises(StepFailed, match="cost is no amount that NUMERIC holds in 1 row"):
            refused()


@on_bigquery
def test_a_copy_that_did_not_change_is_listed_from_bigquerys_cache(
    tenant: "Tenant", make_row: Rows, copy: Exported, bigquery_rest: Running
) -> None:
    (source,) = tenant.scope.sources
    copy.write([make_row()], "first")
    tenant.warehouse.files_of(source)
    jobs = [job.configuration.get("query", {}) for job in bigquery_rest.fake.jobs.all("local")]
    (listing,) = [query for query in jobs if "AS arrival" in query.get("query", "")]
    assert listing["useQueryCache"] is True
