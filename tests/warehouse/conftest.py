import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from convergence.model.cancel import CancelToken
from convergence.model.load import LoadKey
from convergence.model.source import GrantedSource, Kind
from convergence.model.table import TableSchema
from convergence.outside.clock import SystemClock
from convergence.warehouse.base import Warehouse
from convergence.warehouse.bigquery.access import Access, Clients
from convergence.warehouse.bigquery.warehouse import BigqueryWarehouse
from convergence.warehouse.duckdb.warehouse import DuckdbWarehouse
from convergence.warehouse.folders import folder_of
from convergence.warehouse.question import QueryLimits, Result, Scope
from convergence.warehouse.schemas import load_schema, tenant_schemas
from convergence.warehouse.staged import LoadRecord, Staged, StagedTotals, StageRequest
from tests.bigquery_rest.fixtures import bigquery_rest, bigquery_server
from tests.bigquery_rest.server import Running
from tests.exports import export_row, write_rows
from tests.fakes import FakeClock
from tests.warehouse.bigquery_exports import Export
from tests.warehouse.peer import Emulator, PeerMissingError

__all__ = ["bigquery_rest", "bigquery_server"]

LIVE = "CDP_TEST_BIGQUERY_PROJECT"
"""Names an empty project of Google's, where the contract is tried as well, for some cents."""
PROJECT = os.environ.get(LIVE, "local")
TABLE = f"{PROJECT}.billing.gcp_billing_export_resource_v1_01ABCD"
ADAPTERS = ("duckdb", "bigquery", "emulator", "live")
"""DuckDB; our own BigQuery; bqemulator in an environment of its own; Google's."""
ELSEWHERE = frozenset({"emulator", "live"})
FILES = "bigquery_files"
"""Our own BigQuery, which takes its exports from files."""
BY_FILES = frozenset({"duckdb", FILES})
DATASETS = ("acme", "billing", "tenants")
DAY = date(2025, 10, 1)
NOW = datetime(2025, 10, 3, 6, 0, tzinfo=UTC)

BILLING_SQL = """
SELECT
  billing_account_id, service.id AS service_id, service.description AS service_description,
  sku.id AS sku_id, sku.description AS sku_description, usage_start_time, usage_end_time,
  project.id AS project_id, project.name AS project_name, project.number AS project_number,
  location.location AS location_location, location.region AS location_region,
  location.zone AS location_zone, resource.name AS resource_name,
  resource.global_name AS resource_global_name, cost, currency, currency_conversion_rate,
  usage.amount AS usage_amount, usage.unit AS usage_unit,
  usage.amount_in_pricing_units AS usage_amount_in_pricing_units,
  usage.pricing_unit AS usage_pricing_unit, cost_type,
  IFNULL((SELECT SUM(c.amount) FROM UNNEST(credits) AS c), 0) AS credits_total,
  cost_at_list, invoice.month AS invoice_month,
  TO_JSON_STRING(labels) AS labels_json, TO_JSON_STRING(system_labels) AS system_labels_json,
  export_time AS x_source_export_time, TO_JSON_STRING(credits) AS x_credits_json,
  TO_JSON_STRING(tags) AS x_tags_json, TO_JSON_STRING(project.labels) AS x_project_labels_json,
  TO_JSON_STRING(adjustment_info) AS x_adjustment_json, TO_JSON_STRING(price) AS x_price_json,
  consumption_model.id AS x_consumption_model_id, subscription.instance_id AS x_subscription_id,
  seller_name AS x_seller_name, transaction_type AS x_transaction_type,
  invoice.publisher_type AS x_publisher_type,
  cost_at_effective_price_default AS x_cost_at_effective_price_default
FROM `{source}`
WHERE DATE(usage_start_time) = '{date}'
"""


@dataclass(kw_only=True)
class Tenant:
    """A tenant with a dataset and one export, and the acts of a load with defaults."""

    warehouse: Warehouse
    dataset: str
    files: str | None
    narrowing: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def scope(self) -> Scope:
        source = GrantedSource(table=TABLE, files=self.files, kind=Kind.AUTO, **self.narrowing)
        return Scope(
            project=PROJECT,
            tenant_id=self.dataset,
            datasets=frozenset({self.dataset}),
            sources=(source,),
        )

    def request(self, day: date = DAY, *, run_id: str = "run-1", **changes: Any) -> StageRequest:  # noqa: ANN401 - of whatever type
        values: dict[str, Any] = {
            "dataset": self.dataset,
            "table": "billing_cost_daily",
            "schema": load_schema("billing_cost_daily"),
            "scope": self.scope,
            "key": LoadKey(table="billing_cost_daily", day=day, source=TABLE),
            "sql": BILLING_SQL,
            "names": {"source": TABLE, "date": day},
            "stamps": {
                "x_run_id": run_id,
                "x_source": TABLE,
                "x_ingested_at": NOW,
                "ingestion_date": day,
            },
        }
        return StageRequest(**values | changes)

    def stage(self, day: date = DAY, **changes: Any) -> Staged:  # noqa: ANN401 - of whatever type
        return self.warehouse.stage(self.request(day, **changes), CancelToken())

    def totals(self, staged: Staged) -> StagedTotals:
        return self.warehouse.totals(staged, CancelToken())

    def load(self, day: date = DAY, *, load_id: str = "load-1", **changes: Any) -> StagedTotals:  # noqa: ANN401 - of whatever type
        staged = self.stage(day, **changes)
        totals = self.totals(staged)
        self.warehouse.publish(staged, record(load_id))
        return totals

    def query(self, sql: str, **limits: Any) -> Result:  # noqa: ANN401 - of whatever type
        return self.warehouse.query(self.scope, sql, QueryLimits(**limits))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return list(self.query(sql).rows)


def record(load_id: str) -> LoadRecord:
    return LoadRecord(
        load_id=load_id,
        run_id="run-1",
        attempt=1,
        template_hash="0" * 64,
        is_sample=False,
        loaded_at=NOW,
    )


@pytest.fixture
def make_record() -> Callable[[str], LoadRecord]:
    return record


@pytest.fixture
def folders() -> dict[str, tuple[Path, ...]]:
    """The source folders of each dataset; a test may change them."""
    return {}


ORDINARY = frozenset(
    {
        "test_staged_rows_are_seen_only_after_publish",
        "test_a_day_loaded_again_tells_what_it_replaced",
        "test_another_source_and_another_day_stay_untouched",
        "test_a_tripped_token_ends_a_stage_and_leaves_the_old_rows",
        "test_upsert_replaces_rows_with_the_same_key",
        "test_a_source_of_which_nothing_may_be_seen_need_not_be_there",
    }
)
"""The contract's tests that BigQuery meets in every run; the others are its long form."""


FILES_ORDINARY = frozenset({"test_a_bad_amount_is_named_with_its_file"})
"""The tests of exports that files on their way to BigQuery meet in every run."""


NOT_EMULATED: Mapping[str, str] = {
    "test_a_tripped_token_ends_a_stage_and_leaves_the_old_rows": "it runs a statement to its end",
    "test_the_state_names_the_files_that_held_rows": "its exports have no partitions to be named",
    "test_a_float_becomes_money_exactly_on_its_way_into_a_table": "its NUMERIC has three places",
}
"""Tests that bqemulator cannot meet, and why."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is asked of files holds wherever their rows go."""
    is_of_files = metafunc.module.__name__.endswith("test_export")
    said = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if is_of_files and "adapter" in metafunc.fixturenames and "adapter" not in said:
        metafunc.parametrize("adapter", sorted(BY_FILES), indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        is_long = item.path.name.startswith("test_contract")
        name = getattr(item, "originalname", "")
        is_ordinary = name in ORDINARY or not is_long
        adapter = params.get("adapter")
        if adapter in ELSEWHERE or (adapter == "bigquery" and not is_ordinary):
            item.add_marker(pytest.mark.slow)
        if adapter == FILES and name not in FILES_ORDINARY and "test_export" in item.path.name:
            item.add_marker(pytest.mark.slow)
        if adapter in ELSEWHERE:
            item.add_marker(pytest.mark.xdist_group(str(adapter)))
            item.add_marker(pytest.mark.timeout(900))
        if adapter == "live":
            item.add_marker(pytest.mark.enable_socket)
            if LIVE not in os.environ:
                item.add_marker(pytest.mark.skip(f"GOOGLE'S BIGQUERY IS NOT ASKED: set {LIVE}"))
        if adapter == "emulator" and (
            reason := NOT_EMULATED.get(getattr(item, "originalname", ""))
        ):
            item.add_marker(pytest.mark.xfail(reason=reason, run=False))


@pytest.fixture
def adapter(request: pytest.FixtureRequest) -> str:
    """Which warehouse is meant; the contract's tests are given every one."""
    return str(getattr(request, "param", "duckdb"))


@pytest.fixture
def warehouse(
    adapter: str,
    tmp_path: Path,
    folders: dict[str, tuple[Path, ...]],
    request: pytest.FixtureRequest,
) -> Iterator[Warehouse]:
    made: Warehouse
    if adapter == "duckdb":
        made = DuckdbWarehouse(
            tmp_path / "home", folders=lambda name: folders.get(name, ()), memory_limit="512MB"
        )
    else:
        now = FakeClock(NOW).now if adapter not in ELSEWHERE else SystemClock().now
        made = BigqueryWarehouse(request.getfixturevalue("clients"), now=now)
    yield made
    made.close()


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an independent BigQuery."""
    try:
        started = Emulator(tmp_path_factory.mktemp("emulator"), PROJECT)
    except PeerMissingError as missing:
        pytest.skip(f"BQEMULATOR IS NOT ASKED: {missing}")
    yield started.url
    started.stop()


@pytest.fixture
def clients(adapter: str, request: pytest.FixtureRequest) -> Iterator[Clients]:
    """Clients of a BigQuery that is empty."""
    url = ""
    if adapter == "emulator":
        url = str(request.getfixturevalue("emulator"))
    elif adapter in {"bigquery", FILES}:
        url = request.getfixturevalue("bigquery_rest").url
    made = Clients(
        PROJECT,
        location=os.environ.get("CDP_TEST_BIGQUERY_LOCATION", "EU"),
        access_of=lambda _: Access(),
        endpoint=url,
    )
    if adapter == "live" and (there := [d for d in DATASETS if _is_there(made, d)]):
        pytest.skip(f"{PROJECT} HAS THE DATASETS {there}: give a project without them")
    yield made
    for dataset in DATASETS if adapter in ELSEWHERE else ():
        made.of("").delete_dataset(dataset, delete_contents=True, not_found_ok=True)


def _is_there(clients: Clients, dataset: str) -> bool:
    return dataset in {found.dataset_id for found in clients.of("").list_datasets()}


@pytest.fixture
def export(adapter: str, clients: Clients, tmp_path: Path) -> Export:
    """The default tenant's export, where exports are tables of BigQuery; bqemulator has no
    partitions.
    """
    by_arrival = adapter != "emulator"
    made = Export(client=clients.of(""), table=TABLE, scratch=tmp_path, by_arrival=by_arrival)
    made.create()
    return made


@pytest.fixture
def make_tenant(
    adapter: str,
    warehouse: Warehouse,
    tmp_path: Path,
    folders: dict[str, tuple[Path, ...]],
    request: pytest.FixtureRequest,
) -> Callable[..., Tenant]:
    """A tenant whose export is `pattern`, by default all Parquet files of its own folder."""

    def make(dataset: str = "acme", pattern: str = "", **narrowing: tuple[str, ...]) -> Tenant:
        files: str | None = None
        if adapter not in BY_FILES:
            request.getfixturevalue("export")
        else:
            folder = tmp_path / "exports" / dataset
            folder.mkdir(parents=True, exist_ok=True)
            files = pattern or f"{folder}/*"
            folders[dataset] = (folder_of(files),)
        warehouse.ensure_dataset(dataset)
        for schema in tenant_schemas().values():
            warehouse.ensure_table(dataset, schema)
        return Tenant(warehouse=warehouse, dataset=dataset, files=files, narrowing=narrowing)

    return make


@pytest.fixture
def tenant(make_tenant: Callable[..., Tenant]) -> Tenant:
    return make_tenant()


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """The folder of the default tenant's files."""
    return tmp_path / "exports" / "acme"


@pytest.fixture
def make_row() -> Callable[..., dict[str, Any]]:
    return export_row


@pytest.fixture
def write_parquet(exports: Path) -> Callable[..., Path]:
    """Write a file of the default tenant's export."""

    def write(rows: Sequence[Mapping[str, Any]], name: str = "day.parquet", **options: Any) -> Path:  # noqa: ANN401 - of whatever type
        return write_rows(exports / name, rows, **options)

    return write


@pytest.fixture
def deliver(adapter: str, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Let rows arrive in the default tenant's export; the name of the file or partition."""
    if adapter not in BY_FILES:
        export: Export = request.getfixturevalue("export")
        return lambda rows, name="day.parquet", **options: export.write(rows, name, **options)
    write: Callable[..., Path] = request.getfixturevalue("write_parquet")
    return lambda *given, **options: str(write(*given, **options))


@pytest.fixture
def endless(adapter: str, request: pytest.FixtureRequest) -> str:
    """A statement that does not come to its end: our own BigQuery holds the next job of all."""
    if adapter != "bigquery":
        several = ", ".join(f"UNNEST(GENERATE_ARRAY(1, 10000)) AS a{number}" for number in range(4))
        return f"SELECT COUNT(*) AS n FROM {several}"  # noqa: S608 - a constant
    running: Running = request.getfixturevalue("bigquery_rest")
    running.fake.jobs.hold()
    return "SELECT 1 AS n"


@pytest.fixture
def billing() -> TableSchema:
    return load_schema("billing_cost_daily")
