"""What every warehouse must do when it is read, described and kept up to date."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from convergence.errors import Cancelled, Invalid, NotFound
from convergence.model.table import TableSchema
from convergence.warehouse.base import Upsert, Warehouse
from convergence.warehouse.question import QueryLimits, Scope
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.sql.names import CENTRAL_DATASET
from tests.warehouse.on_bigquery import NOW

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant

pytestmark = pytest.mark.parametrize("adapter", ["duckdb", "bigquery"], indirect=True)

DAY = date(2025, 10, 1)
COUNT = "SELECT COUNT(*) FROM billing_cost_daily"
Rows = Callable[..., dict[str, Any]]
Deliver = Callable[..., str]


def test_a_tenant_reads_its_own_tables_alone(
    make_tenant: Callable[..., Any], tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row()])
    tenant.load()
    other = make_tenant("other")
    for name in ("local.acme.billing_cost_daily", "acme.billing_cost_daily"):
        with pytest.raises(Invalid):
            other.rows(COUNT.replace("billing_cost_daily", f"`{name}`"))
    assert other.rows(COUNT) == [(0,)]


def test_a_query_gives_types_exact_money_and_aware_times(
    tenant: "Tenant", make_row: Rows, deliver: Deliver
) -> None:
    deliver([make_row()])
    tenant.load()
    result = tenant.query(
        "SELECT cost, usage_start_time, ingestion_date, usage_amount, COUNT(*) AS n,"
        " SUM(1) AS s, [cost_type] AS a FROM billing_cost_daily GROUP BY ALL"
    )
    assert result.columns == (
        ("cost", "NUMERIC"),
        ("usage_start_time", "TIMESTAMP"),
        ("ingestion_date", "DATE"),
        ("usage_amount", "FLOAT64"),
        ("n", "INT64"),
        ("s", "INT64"),
        ("a", "ARRAY<STRING>"),
    )
    (row,) = result.rows
    assert row[:3] == (Decimal("1.25"), datetime(2025, 10, 1, 5, tzinfo=UTC), DAY)
    assert row[1].tzinfo is UTC


def test_a_query_is_cut_at_its_limit_of_rows_and_says_so(tenant: "Tenant") -> None:
    result = tenant.query("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 100)) AS n ORDER BY n", rows=7)
    assert [row[0] for row in result.rows] == [1, 2, 3, 4, 5, 6, 7]
    assert result.truncated
    whole = tenant.query("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 100)) AS n LIMIT 7", rows=7)
    assert not whole.truncated


def test_a_query_ends_at_its_limit_of_time(
    tenant: "Tenant", request: pytest.FixtureRequest
) -> None:
    endless = request.getfixturevalue("endless")
    with pytest.raises(Cancelled) as caught:
        tenant.query(endless, seconds=0.3)
    assert caught.value.code == "query_timeout"


def test_a_query_may_read_a_source(tenant: "Tenant", make_row: Rows, deliver: Deliver) -> None:
    deliver([make_row(), make_row(cost=2.0)])
    table = tenant.scope.sources[0].table
    assert tenant.rows("SELECT SUM(cost) FROM `?`".replace("?", table)) == [(Decimal("3.25"),)]


@pytest.mark.parametrize(
    "sql", ["SELECT nope FROM billing_cost_daily", "SELECT * FROM no_such_table", "SELECT 1/0"]
)
def test_a_wrong_query_is_invalid(tenant: "Tenant", sql: str) -> None:
    with pytest.raises(Invalid):
        tenant.rows(sql)


def test_explain_checks_names_and_reads_nothing(tenant: "Tenant") -> None:
    assert "billing_cost_daily" in tenant.warehouse.explain(tenant.scope, COUNT).sql
    with pytest.raises(Invalid):
        tenant.warehouse.explain(tenant.scope, "SELECT nope FROM billing_cost_daily")


def test_evolve_adds_what_is_missing_once(tenant: "Tenant") -> None:
    schema = load_schema("x_meta_step_logs")
    narrow = replace(schema, name="step_logs", columns=schema.columns[:9])
    wide = replace(narrow, columns=schema.columns)
    tenant.warehouse.ensure_table("acme", narrow)
    assert tenant.warehouse.evolve("acme", wide)
    assert not tenant.warehouse.evolve("acme", wide)
    live = tenant.warehouse.columns("acme", "step_logs")
    assert [(c.name, c.type, c.mode) for c in live] == [
        (c.name, c.type, c.mode) for c in schema.columns
    ]


def test_live_columns_are_those_of_the_schema(tenant: "Tenant", billing: TableSchema) -> None:
    live = tenant.warehouse.columns("acme", "billing_cost_daily")
    assert [(c.name, c.type, c.mode) for c in live] == [
        (c.name, c.type, c.mode) for c in billing.columns
    ]
    with pytest.raises(NotFound):
        tenant.warehouse.columns("acme", "no_such_table")
    with pytest.raises(NotFound):
        tenant.warehouse.columns("no_such_dataset", "billing_cost_daily")


def test_making_things_twice_says_that_they_were_there(
    warehouse: Warehouse, billing: TableSchema
) -> None:
    assert warehouse.ensure_dataset("fresh")
    assert not warehouse.ensure_dataset("fresh")
    assert warehouse.ensure_table("fresh", billing)
    assert not warehouse.ensure_table("fresh", billing)
    warehouse.drop_dataset("fresh")
    assert warehouse.ensure_dataset("fresh")


def test_a_dataset_with_rows_takes_room(tenant: "Tenant", make_row: Rows, deliver: Deliver) -> None:
    deliver([make_row()])
    tenant.load()
    assert tenant.warehouse.storage_bytes("acme") > 0


def test_upsert_replaces_rows_with_the_same_key(tenant: "Tenant") -> None:
    schema = load_schema("x_meta_api_keys")
    row = {
        "api_key": "k1",
        "tenant_id": "acme",
        "created_at": datetime(2025, 1, 1, tzinfo=UTC),
        "is_active": True,
        "scopes": ("pipelines:read",),
    }
    tenant.warehouse.upsert("acme", schema, ("api_key",), [row, row | {"api_key": "k2"}])
    tenant.warehouse.upsert("acme", schema, ("api_key",), [row | {"is_active": False}])
    assert tenant.rows("SELECT api_key, is_active, scopes FROM x_meta_api_keys ORDER BY 1") == [
        ("k1", False, ["pipelines:read"]),
        ("k2", True, ["pipelines:read"]),
    ]


def test_central_rows_are_seen_by_their_tenant_and_by_the_operator(
    make_tenant: Callable[..., Any], warehouse: Warehouse
) -> None:
    acme, other = make_tenant("acme"), make_tenant("other")
    schema = load_schema("tenant_profiles")
    for name in ("acme", "other"):
        row = {
            "tenant_id": name,
            "company_name": f"{name} & Co",
            "admin_email": "a@example.com",
            "tenant_dataset_id": name,
            "status": "ACTIVE",
            "created_at": datetime(2025, 1, 1, tzinfo=UTC),
        }
        upsert = Upsert(schema=schema, key=("tenant_id",), rows=[row])
        for dataset in (name, CENTRAL_DATASET):
            if name == "acme" and dataset == CENTRAL_DATASET:
                with pytest.raises(NotFound):
                    warehouse.upsert_all(dataset, [upsert], seen_at=NOW)
                warehouse.ensure_dataset(dataset)
            warehouse.upsert_all(dataset, [upsert], seen_at=NOW)
    sql = "SELECT tenant_id FROM `local.tenants.tenant_profiles` ORDER BY 1"
    assert acme.rows(sql) == [("acme",)]
    assert other.rows(sql) == [("other",)]
    operator = Scope(project="local", tenant_id=None, datasets=frozenset({"acme", "other"}))
    assert list(warehouse.query(operator, sql, QueryLimits()).rows) == [("acme",), ("other",)]


def test_check_passes_on_a_warehouse_that_can_be_written_to(warehouse: Warehouse) -> None:
    warehouse.check()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT LENGTH(REPEAT('a', 1000000000))",
        "SELECT LENGTH(LPAD('a', 2000000000, 'b'))",
        "SELECT ARRAY_LENGTH(GENERATE_ARRAY(1, 1000000000))",
        "SELECT ARRAY_LENGTH(GENERATE_DATE_ARRAY('0001-01-01', '9999-12-31'))",
        "SELECT LENGTH(REPLACE(REPEAT('a', 10000), 'a', REPEAT('b', 10000)))",
        "SELECT EDIT_DISTANCE(REPEAT('a', 9000), REPEAT('b', 9000))",
        "SELECT APPROX_QUANTILES(x, 100000000) FROM UNNEST([1]) AS x",
    ],
)
def test_one_call_cannot_take_the_memory_of_the_machine(tenant: "Tenant", sql: str) -> None:
    with pytest.raises(Invalid):
        tenant.query(sql)


def test_calls_of_ordinary_size_are_answered(tenant: "Tenant") -> None:
    sql = (
        "SELECT REPEAT('ab', 2), LPAD('7', 3, '0'), REPLACE('a-b', '-', 'xy'),"
        " ARRAY_LENGTH(GENERATE_ARRAY(10, 1, -3)), EDIT_DISTANCE('abc', 'abd')"
    )
    assert tenant.rows(sql) == [("abab", "007", "axyb", 4, 1)]


def test_an_answer_too_large_is_refused(tenant: "Tenant") -> None:
    sql = "SELECT REPEAT('a', 9999) FROM UNNEST(GENERATE_ARRAY(1, 9999)) AS n"
    with pytest.raises(Invalid) as caught:
        tenant.query(sql)
    assert caught.value.code == "result_too_large"
