"""Into what a table in BigQuery is divided, and by what it is told that a part of it changed."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from convergence.model.load import FileState
from convergence.model.unit import Unit
from convergence.warehouse.bigquery import survey
from convergence.warehouse.bigquery.access import Clients
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


@on_bigquery
def test_a_copy_of_an_export_without_partitions_loads_and_its_changes_are_found(
    tenant: "Tenant", make_row: Rows, clients: Clients, tmp_path: Path
) -> None:
    source = tenant.scope.sources[0]
    clients.of("").delete_table(source.table)
    copy = Exported(client=clients.of(""), table=source.table, scratch=tmp_path, by_arrival=False)
    copy.create()
    copy.write([make_row()], "first")
    assert tenant.load().rows == 1
    before = tenant.warehouse.files_of(source)
    copy.write([make_row(cost=777.0)], "first")
    corrected = tenant.warehouse.files_of(source)
    assert corrected != before
    assert {unit.size for unit in corrected} == {0}
    copy.write([make_row(cost=777.0)], "first")
    assert tenant.warehouse.files_of(source) == corrected
    copy.write([make_row()], "late")
    assert tenant.warehouse.files_of(source) != corrected
