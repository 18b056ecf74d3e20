"""Rows of a detailed export, nested as BigQuery gives them, and Parquet files of them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from convergence.model.table import Column
from convergence.warehouse.schemas import gcp_export


def export_row(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - of whatever type
    """One row of a detailed export, as BigQuery would write it to Parquet."""
    row: dict[str, Any] = {
        "billing_account_id": "01ABCD-234567-89EF01",
        "service": {"id": "6F81-5844-456A", "description": "Compute Engine"},
        "sku": {"id": "CF4E-A0C7-E3BF", "description": "Instance Core"},
        "usage_start_time": datetime(2025, 10, 1, 5, tzinfo=UTC),
        "usage_end_time": datetime(2025, 10, 1, 6, tzinfo=UTC),
        "project": {
            "id": "project-1",
            "number": "1",
            "name": "Project 1",
            "labels": [{"key": "team", "value": "red"}],
            "ancestry_numbers": "/1/",
            "ancestors": [{"resource_name": "organizations/1", "display_name": "org"}],
        },
        "labels": [{"key": "env", "value": 'it\'s "prod"'}],
        "system_labels": [],
        "location": {"location": "eu", "country": "DE", "region": "eu-1", "zone": "eu-1-a"},
        "resource": {"name": "vm-1", "global_name": "//compute/vm-1"},
        "tags": [{"key": "1/env", "value": "prod", "inherited": True, "namespace": "1"}],
        "price": None,
        "subscription": {"instance_id": None},
        "transaction_type": "GOOGLE",
        "seller_name": None,
        "export_time": datetime(2025, 10, 2, 3, 4, 5, tzinfo=UTC),
        "cost": 1.25,
        "currency": "EUR",
        "currency_conversion_rate": 0.92,
        "usage": {
            "amount": 3600.0,
            "unit": "seconds",
            "amount_in_pricing_units": 1.0,
            "pricing_unit": "hour",
        },
        "credits": [{"name": "Promo", "amount": -0.25, "full_name": None, "id": "p", "type": "X"}],
        "invoice": {"month": "202510", "publisher_type": "GOOGLE"},
        "cost_type": "regular",
        "adjustment_info": None,
        "cost_at_list": 1.5,
        "consumption_model": {
            "id": "m",
            "description": "Default",
            "applied_subscription_instance_id": None,
        },
        "cost_at_effective_price_default": 1.4,
        "cost_at_list_consumption_model": 1.5,
    }
    return row | changes


def write_rows(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    without: Collection[str] = (),
    **options: Any,  # noqa: ANN401 - as pyarrow takes them
) -> Path:
    """Write rows as BigQuery would: FLOAT64 money, nested records, LISTs of STRUCT."""
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([field for field in _ARROW_SCHEMA if field.name not in without])
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, **options)
    return path


FLOATS = {"cost", "currency_conversion_rate", "amount", "cost_at_list"} | {
    "cost_at_effective_price_default",
    "cost_at_list_consumption_model",
}
_ARROW = {
    "STRING": pa.string(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "FLOAT64": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "BOOL": pa.bool_(),
}


def _arrow(column: Column) -> pa.Field:
    if column.fields:
        type_ = pa.struct([_arrow(member) for member in column.fields])
    else:
        type_ = pa.float64() if column.name in FLOATS else _ARROW[column.type]
    return pa.field(column.name, pa.list_(type_) if column.mode == "REPEATED" else type_)


_ARROW_SCHEMA = [_arrow(column) for column in gcp_export().columns]
