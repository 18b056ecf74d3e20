"""A tenant moves to another warehouse: proven, repeatable, and told why when it cannot."""

import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from convergence.engine import costs
from convergence.engine.launch import launch
from convergence.engine.ledger import publish
from convergence.engine.move import Moved, move
from convergence.engine.service import Service
from convergence.errors import Conflict, WarehouseError
from convergence.model.run import LaunchRequest, Status
from convergence.model.table import TableSchema
from convergence.model.tenant import WarehouseKind
from convergence.settings.fields import Settings
from convergence.store import tenants
from convergence.warehouse.question import FileForm
from convergence.wiring import build
from tests.conftest import HEADER, Prepared, export_line, grant_export, made
from tests.engine.test_sync import SYNC, run_sync
from tests.fakes import FakeClock

BILL = "SELECT ingestion_date, SUM(cost), SUM(credits_total) FROM billing_cost_daily GROUP BY 1"


ROWS = (
    ("2024-11-01", "10.000000001", "-2", "202411"),
    ("2024-11-02", "0.000000001", "", "202411"),
    ("2024-11-03", "5", "-0.5", "202411"),
)


@dataclass(frozen=True, kw_only=True)
class Places:
    """A tenant with three days of a bill, and the same store beside another warehouse."""

    here: Service
    there: Service
    tables: Sequence[Moved] = ()


@pytest.fixture(scope="module")
def loaded(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home to be copied."""
    folder = tmp_path_factory.mktemp("loaded")
    shutil.copytree(prepared.with_acme, folder / "home")
    (folder / "a.csv").write_text("\n".join([HEADER, *(export_line(*row) for row in ROWS)]) + "\n")
    with closing(made(folder / "home")) as service:
        grant_export(service, folder / "*.csv", "acme")
        assert run_sync(service).status is Status.COMPLETED
        publish(service)
    return folder / "home"


@contextmanager
def both(loaded: Path, folder: Path) -> Iterator[Places]:
    shutil.copytree(loaded, folder / "here")
    with closing(made(folder / "here")) as here:
        url = here.config.database_url
        there = build(Settings(home=folder / "there", database_url=url, disable_auth=True))
        there.config = replace(there.config, warehouse=WarehouseKind.BIGQUERY)
        there.clock = FakeClock()
        with closing(there):
            yield Places(here=here, there=there)


@pytest.fixture
def places(loaded: Path, tmp_path: Path) -> Iterator[Places]:
    with both(loaded, tmp_path) as places:
        yield places


@pytest.fixture(scope="module")
def moved(loaded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    with both(loaded, tmp_path_factory.mktemp("moved")) as places:
        yield replace(places, tables=move(places.here, places.there, "acme"))


def where(places: Places) -> WarehouseKind:
    with places.here.database.read() as tx:
        return tenants.get(tx, "acme").warehouse


def test_a_tenant_moves_with_all_that_was_loaded(moved: Places) -> None:
    assert [(table.table, table.days, table.copied, table.rows) for table in moved.tables] == [
        ("billing_cost_daily", 3, 3, 3),
        ("x_meta_loads", 1, 1, 3),
    ]
    assert moved.tables[0].groups[0].sums["cost"] == Decimal("10.000000001")
    assert sorted(costs.query(moved.there, "acme", BILL).rows) == [
        (date(2024, 11, 1), Decimal("10.000000001"), Decimal(-2)),
        (date(2024, 11, 2), Decimal("0.000000001"), Decimal(0)),
        (date(2024, 11, 3), Decimal(5), Decimal("-0.5")),
    ]
    assert where(moved) is WarehouseKind.BIGQUERY


def test_where_a_tenant_was_refuses_it_and_says_what_to_do(moved: Places) -> None:
    for act in (lambda: costs.query(moved.here, "acme", BILL), lambda: run_sync(moved.here)):
        with pytest.raises(Conflict, match="in bigquery, and this process works with duckdb"):
            act()
    with pytest.raises(Conflict) as again:
        move(moved.here, moved.there, "acme")
    assert again.value.code == "tenant_moved"


def test_what_the_ledger_published_is_published_there(moved: Places) -> None:
    assert publish(moved.here) == 0
    publish(moved.there)
    found = costs.query(moved.there, "acme", "SELECT status FROM x_meta_pipeline_runs").rows
    assert set(found) == {("COMPLETED",)}


def test_the_next_sync_proves_each_day_and_leaves_it(moved: Places) -> None:
    sql = "SELECT ingestion_date, x_ingested_at FROM billing_cost_daily"
    before = sorted(costs.query(moved.there, "acme", sql).rows)
    run = run_sync(moved.there, day="2024-11-06")
    assert run.status is Status.COMPLETED, run.error
    assert sorted(costs.query(moved.there, "acme", sql).rows) == before


def test_a_move_that_was_cut_off_goes_on_where_it_was(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = places.there.warehouse.import_rows
    calls: list[date | None] = []

    def put_one(*arguments: object, day: date | None = None) -> None:
        if calls:
            raise WarehouseError("the line is cut")
        calls.append(day)
        put(*arguments, day=day)  # type: ignore[arg-type] # as they came

    with monkeypatch.context() as patched:
        patched.setattr(places.there.warehouse, "import_rows", put_one)
        with pytest.raises(WarehouseError, match="cut"):
            move(places.here, places.there, "acme")
    assert where(places) is WarehouseKind.DUCKDB
    bill, _ = move(places.here, places.there, "acme")
    assert (bill.copied, bill.rows) == (2, 3)


def test_rows_that_do_not_come_over_stop_the_move(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places.there.warehouse, "import_rows", lambda *_, **__: None)
    with pytest.raises(WarehouseError, match=r"1 rows, cost 10\.000000001.* became 0 rows"):
        move(places.here, places.there, "acme")
    assert where(places) is WarehouseKind.DUCKDB


@pytest.mark.parametrize(
    ("column", "other"),
    [
        ("service_id", "other"),
        ("usage_start_time", datetime(2024, 11, 1, 5, 0, 0, 1, UTC)),
        ("usage_amount", 0.5),
        ("project_id", None),
    ],
)
def test_a_value_that_became_another_stops_the_move(
    places: Places, monkeypatch: pytest.MonkeyPatch, column: str, other: object
) -> None:
    put = places.there.warehouse.import_rows

    def put_other(
        dataset: str, schema: TableSchema, file: BinaryIO, form: FileForm, **more: date | None
    ) -> None:
        table, changed = pq.read_table(file), io.BytesIO()
        values = pa.array([other] * len(table), table.schema.field(column).type)
        pq.write_table(table.set_column(table.column_names.index(column), column, values), changed)
        changed.seek(0)
        put(dataset, schema, changed, form, **more)

    monkeypatch.setattr(places.there.warehouse, "import_rows", put_other)
    with pytest.raises(WarehouseError, match="differs after it was copied"):
        move(places.here, places.there, "acme")


def test_a_tenant_that_works_is_not_moved(places: Places) -> None:
    request = LaunchRequest(tenant_id="acme", template=SYNC, run_date=date(2024, 11, 4))
    launch(places.here, request)
    with pytest.raises(Conflict, match="live runs"):
        move(places.here, places.there, "acme")
