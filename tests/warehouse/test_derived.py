"""What is derived from a bill equals it, from the first moment and after every change."""

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from convergence.model.cancel import CancelToken
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.staged import WriteMode
from tests.exports import export_row

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant

DAY, NEXT = date(2025, 10, 1), date(2025, 10, 2)
SUMS = load_schema("billing_cost_summary")
NAMES = ", ".join(SUMS.column_names)
Write = Callable[..., Path]


def kept(tenant: "Tenant") -> list[tuple[Any, ...]]:
    return tenant.rows(f"SELECT {NAMES} FROM {SUMS.name} ORDER BY {NAMES}")  # noqa: S608 - names of the schema


def worked_out(tenant: "Tenant") -> list[tuple[Any, ...]]:
    return tenant.rows(f"SELECT {NAMES} FROM ({SUMS.query}) ORDER BY {NAMES}")  # noqa: S608 - the schema's own


def rows_of(*costs: float, day: date = DAY) -> Sequence[dict[str, Any]]:
    start = export_row()["usage_start_time"].replace(day=day.day)
    return [
        export_row(cost=cost, usage_start_time=start, sku={"id": f"K{int(cost) % 3}"})
        for cost in costs
    ]


def in_the_file(tmp_path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Behind the warehouse's back: in the file itself, while nobody has it open."""
    with duckdb.connect(tmp_path / "home" / "warehouse" / "acme.duckdb") as connection:
        return connection.execute(statement).fetchall()


def test_sums_follow_each_load_of_a_day(tenant: "Tenant", write_parquet: Write) -> None:
    write_parquet([*rows_of(1, 2, 4, 5), *rows_of(7, day=NEXT)])
    tenant.load()
    tenant.load(NEXT, load_id="load-2")
    assert [row[-4:-2] for row in kept(tenant)] == [(2, 5), (2, 7), (1, 7)]
    write_parquet(rows_of(1, 2))
    tenant.load(load_id="load-3", run_id="run-2")
    assert kept(tenant) == worked_out(tenant)
    assert len(kept(tenant)) == 3


def test_days_that_are_published_together_are_summed_together(
    tenant: "Tenant", write_parquet: Write, make_record: Callable[[str], Any]
) -> None:
    write_parquet([*rows_of(1, 2), *rows_of(7, day=NEXT)])
    days = [tenant.request(), tenant.request(NEXT)]
    both = tenant.warehouse.stage_together(days, CancelToken())
    for staged in both:
        tenant.totals(staged)
    records = [make_record("load-1"), make_record("load-2")]
    tenant.warehouse.publish_together(list(zip(both, records, strict=True)))
    assert kept(tenant) == worked_out(tenant)
    assert len(kept(tenant)) == 3


def test_a_load_that_is_discarded_leaves_the_sums(tenant: "Tenant", write_parquet: Write) -> None:
    write_parquet(rows_of(1))
    tenant.load()
    before = kept(tenant)
    write_parquet(rows_of(1, 2))
    tenant.warehouse.discard(tenant.stage())
    assert kept(tenant) == before == worked_out(tenant)


def test_rows_that_no_schema_was_said_for_are_summed_too(
    tenant: "Tenant", write_parquet: Write
) -> None:
    write_parquet(rows_of(1))
    tenant.load()
    tenant.load(load_id="load-2", run_id="run-2", schema=None, mode=WriteMode.APPEND)
    assert kept(tenant) == worked_out(tenant)
    assert [row[-4] for row in kept(tenant)] == [1, 1]


@pytest.mark.parametrize(
    "statement", [f"DROP TABLE {SUMS.name}", f"ALTER TABLE {SUMS.name} DROP COLUMN sku_id"]
)
def test_sums_that_are_not_there_are_worked_out_and_made_by_the_next_load(
    statement: str, tenant: "Tenant", write_parquet: Write, tmp_path: Path
) -> None:
    write_parquet([*rows_of(1, 2), *rows_of(7, day=NEXT)])
    tenant.load()
    tenant.warehouse.close()
    in_the_file(tmp_path, statement)
    assert len(kept(tenant)) == 2
    first = tenant.stage(NEXT)
    tenant.totals(first)
    assert kept(tenant) == worked_out(tenant)
    tenant.warehouse.discard(first)
    tenant.warehouse.close()
    assert in_the_file(tmp_path, f"SELECT count(sku_id) FROM {SUMS.name}") == [(2,)]  # noqa: S608 - a name


@pytest.mark.parametrize(
    "statement",
    [
        f"DROP TABLE {SUMS.name}",
        f"ALTER TABLE {SUMS.name} DROP COLUMN sku_id",
        "ALTER TABLE billing_cost_daily DROP COLUMN location_region",
    ],
)
def test_what_a_migration_mends_is_summed_anew(
    statement: str, tenant: "Tenant", write_parquet: Write, tmp_path: Path
) -> None:
    write_parquet(rows_of(1, 2))
    tenant.load()
    tenant.warehouse.close()
    in_the_file(tmp_path, statement)
    for name in ("billing_cost_daily", SUMS.name):
        tenant.warehouse.evolve("acme", load_schema(name))
    assert kept(tenant) == worked_out(tenant)
    assert len(kept(tenant)) == 2
