import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from convergence.engine import administer, costs, sample
from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.sample import Made
from convergence.engine.service import Service
from convergence.errors import Conflict, NotFound
from convergence.model.money import MoneyKey, Total
from convergence.model.run import LaunchRequest, Run, Status
from convergence.model.sample.catalog import ACCOUNTS, EUR
from convergence.model.sample.export import Sample
from convergence.model.source import Grant, Kind, Source
from convergence.wiring import export_writer
from tests.engine.conftest import now
from tests.fakes import FakeClock

SHORT = Sample(first=date(2025, 10, 25), days=4, seed=1)
BROKEN = Sample(first=date(2025, 10, 1), days=84, seed=1)


@pytest.fixture
def clock() -> FakeClock:
    """After the bills' days: usage that has not been yet is refused."""
    return FakeClock(datetime(2026, 2, 1, 8, tzinfo=UTC))


def make(folder: Path, wanted: Sample, *, mend: bool = False) -> Made:
    with export_writer() as write:
        return sample.make(folder, wanted, write, mend=mend, progress=lambda *_: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Long enough to hold the broken day."""
    return make(tmp_path_factory.mktemp("whole"), BROKEN)


def modified(made: Made) -> Mapping[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in made.folder.rglob("*.parquet")}


def load(service: Service, made: Made, day: date) -> Run:
    """Load a day of the export in euros for acme, through the real template."""
    export = Source(
        table=f"local.billing.{EUR.table}",
        files=made.glob(EUR),
        kind=Kind.AUTO,
        grants=(Grant(tenant_id="acme"),),
    )
    administer.put_source(service, export)
    asked = LaunchRequest(tenant_id="acme", template="gcp/cost/cost_billing", run_date=day)
    run = launch(service, asked).run
    Executor(service=service, worker="test").walk("acme", run.run_id)
    return now(service, run)


def loaded(service: Service, day: date) -> Mapping[MoneyKey, Total]:
    """What the tenant's table holds of a day, in the words of totals."""
    found = costs.query(
        service,
        "acme",
        "SELECT invoice_month, cost_type, currency, COUNT(*), SUM(cost), SUM(credits_total),"
        " ingestion_date FROM billing_cost_daily GROUP BY 1, 2, 3, 7",
    )
    return {MoneyKey(*row[:3]): Total(*row[3:6]) for row in found.rows if row[6] == day}


def test_export_has_the_types_of_the_provider(whole: Made) -> None:
    with duckdb.connect() as connection:
        seen = connection.read_parquet(str(whole.folder / "usd/*.parquet"))
        types = dict(zip(seen.columns, map(str, seen.types), strict=True))
    assert types["cost"] == "DOUBLE"
    assert types["usage_start_time"] == "TIMESTAMP WITH TIME ZONE"
    assert types["credits"].startswith("STRUCT(")
    assert types["credits"].endswith("[]")
    assert "effective_price DECIMAL(38,9)" in types["price"]


@pytest.mark.parametrize("index", [3, 30, 40, 64])
@pytest.mark.usefixtures("tenant")
def test_a_loaded_day_equals_the_known_totals(service: Service, whole: Made, index: int) -> None:
    """Among them a month's last day, with tax and corrections, and the day of a credit memo."""
    day = whole.sample.day(index)
    assert load(service, whole, day).status is Status.COMPLETED
    assert loaded(service, day) == whole.totals[EUR.id][day]


@pytest.mark.usefixtures("tenant")
def test_the_broken_day_alone_fails_until_it_is_mended(service: Service, tmp_path: Path) -> None:
    made = make(tmp_path / "sample", BROKEN)
    day = made.broken(EUR)
    assert day is not None
    assert load(service, made, day - timedelta(days=1)).status is Status.COMPLETED
    failed = load(service, made, day)
    assert failed.error_code == "source_broken"
    assert f"{day}.parquet: it lacks the column cost" in (failed.error or "")
    mended = make(tmp_path / "sample", BROKEN, mend=True)
    assert mended.broken(EUR) is None
    assert load(service, mended, day).status is Status.COMPLETED
    assert loaded(service, day) == mended.totals[EUR.id][day]


def test_a_second_time_nothing_is_written(whole: Made) -> None:
    before = modified(whole)
    assert make(whole.folder, BROKEN) == whole
    assert modified(whole) == before


def test_what_a_kill_left_out_is_written_and_the_rest_stays(tmp_path: Path) -> None:
    made = make(tmp_path, SHORT)
    (tmp_path / "totals.json").unlink()
    gone = tmp_path / "eur" / f"{SHORT.day(2)}.parquet"
    before = modified(made)
    gone.unlink()
    assert make(tmp_path, SHORT) == made
    after = modified(made)
    assert gone.exists()
    assert {path for path in after if after[path] != before[path]} == {str(gone)}


def test_longer_sample_adds_files_to_the_shorter(tmp_path: Path) -> None:
    before = modified(make(tmp_path, SHORT))
    longer = make(tmp_path, replace(SHORT, days=SHORT.days + 2))
    after = modified(longer)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 2 * len(ACCOUNTS)
    assert make(tmp_path, SHORT) == longer


def test_another_sample_is_not_written_over_this_one(tmp_path: Path) -> None:
    make(tmp_path, SHORT)
    with pytest.raises(Conflict, match="holds another sample"):
        make(tmp_path, replace(SHORT, seed=2))


def test_totals_beside_the_files_are_exact_texts(tmp_path: Path) -> None:
    made = make(tmp_path, SHORT)
    said = json.loads((tmp_path / "totals.json").read_text())["exports"][1]
    assert Decimal(said["cost"]) == sample.total(made, EUR).cost
    assert said["totals"].keys() == {SHORT.day(index).isoformat() for index in range(SHORT.days)}
    assert sample.read(tmp_path) == made


def test_folder_without_a_sample_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no sample"):
        sample.read(tmp_path)
