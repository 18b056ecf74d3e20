import pytest

from convergence.errors import NotFound
from convergence.model.table import Mode
from convergence.warehouse.files.types import bigquery_scalar, duck_type
from convergence.warehouse.schemas import all_schemas, central_schemas, gcp_export, load_schema

QUOTA_COLUMNS = """
    usage_id tenant_id usage_date pipelines_run_today pipelines_succeeded_today
    pipelines_failed_today pipelines_cancelled_today pipelines_run_month
    concurrent_pipelines_running max_concurrent_reached daily_limit monthly_limit
    concurrent_limit quota_exceeded quota_warning_sent quota_exceeded_at total_api_calls_today
    total_storage_used_gb last_updated last_pipeline_started_at last_pipeline_completed_at
    created_at
"""
BILLING_COLUMNS = """
    billing_account_id service_id service_description sku_id sku_description usage_start_time
    usage_end_time project_id project_name project_number location_location location_region
    location_zone resource_name resource_global_name cost currency currency_conversion_rate
    usage_amount usage_unit usage_amount_in_pricing_units usage_pricing_unit cost_type
    credits_total cost_at_list invoice_month ingestion_date labels_json system_labels_json
"""


def test_billing_has_its_29_columns_first_and_then_its_own() -> None:
    names = load_schema("billing_cost_daily").column_names
    assert list(names[:29]) == BILLING_COLUMNS.split()
    assert all(name.startswith("x_") for name in names[29:])


def test_money_and_rates_of_a_bill_are_numeric() -> None:
    types = {column.name: column.type for column in load_schema("billing_cost_daily").columns}
    for name in ("cost", "credits_total", "cost_at_list", "currency_conversion_rate"):
        assert types[name] == "NUMERIC"


def test_usage_has_its_22_columns_in_order() -> None:
    assert list(load_schema("tenant_usage_quotas").column_names) == QUOTA_COLUMNS.split()


def test_the_central_tables_are_the_four_of_the_specification() -> None:
    assert set(central_schemas()) == {
        "tenant_profiles",
        "tenant_api_keys",
        "tenant_subscriptions",
        "tenant_usage_quotas",
        "tenant_pipeline_configs",
    }


@pytest.mark.parametrize("name", sorted(all_schemas()))
def test_partition_and_cluster_columns_exist(name: str) -> None:
    schema = load_schema(name)
    named = {*schema.cluster_by, *([schema.partition_by] if schema.partition_by else [])}
    assert named <= set(schema.column_names)


@pytest.mark.parametrize("name", sorted(all_schemas()))
def test_every_type_is_the_same_after_a_way_through_duckdb(name: str) -> None:
    for column in load_schema(name).columns:
        assert bigquery_scalar(duck_type(column).removesuffix("[]")) == column.type


def test_required_columns_of_the_export_are_columns_of_it() -> None:
    export = gcp_export()
    paths = {column.name for column in export.columns} | {
        f"{column.name}.{member.name}" for column in export.columns for member in column.fields
    }
    assert export.required <= paths


def test_credits_are_a_repeated_record_with_exact_amounts() -> None:
    (found,) = (column for column in gcp_export().columns if column.name == "credits")
    assert found.mode is Mode.REPEATED
    assert {member.name: member.type for member in found.fields}["amount"] == "NUMERIC"


def test_an_unknown_schema_is_not_found_and_the_known_are_named() -> None:
    with pytest.raises(NotFound) as caught:
        load_schema("nope")
    assert "billing_cost_daily" in caught.value.hint
