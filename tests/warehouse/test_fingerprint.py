"""The hash that proves a tenant's move holds for rows of any length."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from convergence.model.table import TableSchema
from convergence.warehouse.sql import fingerprint

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant


def test_a_row_with_a_value_everywhere_has_a_hash_that_tells_each(
    tenant: "Tenant",
    make_row: Callable[..., dict[str, Any]],
    write_parquet: Callable[..., Path],
    billing: TableSchema,
) -> None:
    long = "x" * 3_000
    full = {
        "labels": [{"key": long, "value": long}] * 3,
        "system_labels": [{"key": long, "value": long}],
        "price": {"effective_price": 1, "unit": long, "tier_start_amount": 0},
        "subscription": {"instance_id": long},
        "seller_name": long,
        "adjustment_info": {"id": "a", "description": long, "mode": "m", "type": "t"},
    }
    other = full | {"seller_name": f"{long}y"}
    write_parquet([make_row(**full), make_row(**full), make_row(**other)])
    tenant.load()
    hash_ = fingerprint.of_row([c for c in billing.columns if c.name != "x_ingested_at"])
    told = exp.select(exp.alias_(hash_, "hash_of_row")).from_("billing_cost_daily")
    name = exp.column("hash_of_row")
    query = exp.select(name, *fingerprint.numbers(name)).from_(told.subquery("told"))
    rows = tenant.rows(query.sql("bigquery"))
    assert {len(row[0]) for row in rows} == {32}
    assert (len(rows), len(set(rows))) == (3, 2)
