"""Tables of the service are written by the service: no template gets past the proof of a load."""

import pytest
from pydantic import ValidationError

from convergence.steps.gcp.bq_etl import BqEtlSettings, schema_of
from convergence.warehouse.schemas import all_schemas, views
from convergence.warehouse.staged import WriteMode


def into(table: str, **keys: object) -> BqEtlSettings:
    destination = {"table": table, **keys}
    return BqEtlSettings.model_validate(
        {"source": {"query": "SELECT 1 AS n"}, "destination": destination}
    )


@pytest.mark.parametrize(
    "table",
    [
        *sorted({*all_schemas(), *views()} - {"billing_cost_daily"}),
        "x_meta_of_tomorrow",
        "X_META_LOADS",
    ],
)
def test_a_template_cannot_write_what_the_service_writes(table: str) -> None:
    with pytest.raises(ValidationError, match="written by the service itself"):
        into(table, write_mode="overwrite")


@pytest.mark.parametrize("mode", ["append", "merge"])
def test_the_bill_is_the_bill_by_its_name_alone(mode: str) -> None:
    with pytest.raises(ValidationError, match="would double cost"):
        into("billing_cost_daily", write_mode=mode, merge_keys=["sku_id"])
    loaded = into("billing_cost_daily", write_mode="overwrite")
    assert loaded.destination.mode is WriteMode.REPLACE_PARTITION
    schema = schema_of(loaded.destination)
    assert schema is not None
    assert schema.is_billing
    assert "sum_matches_source" in {check.check for check in loaded.suite}


def test_a_table_of_ones_own_is_free() -> None:
    assert into("spend", write_mode="append").destination.mode is WriteMode.APPEND
