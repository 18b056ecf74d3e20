"""Every trap of a bill gives the same rows in DuckDB and in BigQuery."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from convergence import wiring
from convergence.engine import reconcile
from convergence.engine.onboard import onboard
from convergence.model.run import Status
from convergence.settings.fields import Settings
from tests.bigquery_rest.fixtures import bigquery_server
from tests.bigquery_rest.server import Running
from tests.bill import oracle
from tests.bill.conftest import KILLERS, Bill
from tests.bill.killers import LATE, NEW, NEW_COLUMNS, Row
from tests.bill.test_killers import BY_ALL
from tests.conftest import EXPORT, application, grant_export
from tests.engine.test_sync import run_sync
from tests.fakes import FakeClock
from tests.warehouse.bigquery_exports import Export

__all__ = ["bigquery_server"]
pytestmark = pytest.mark.xdist_group("bill-bill")  # where the bill in DuckDB is made, too
ARRAYS = ("labels_json", "system_labels_json", "x_credits_json", "x_tags_json")
ROWS = f"""
    SELECT * EXCEPT (x_run_id, x_ingested_at, {", ".join(ARRAYS)}), {", ".join(ARRAYS)}
    FROM billing_cost_daily
    ORDER BY service_id, usage_start_time, invoice_month, cost, currency, credits_total, project_id,
      x_currency_conversion_rate
"""  # noqa: S608 - names of ours


def as_bigquery_has(name: str, row: Row, number: int) -> Row:
    """A table has all its columns from the beginning; its arrays have no NULL in them."""
    is_late = name == NEW or (name == LATE and number > 0)
    absent = {} if is_late else dict.fromkeys(NEW_COLUMNS)
    credits_ = [credit for credit in row["credits"] or () if credit is not None]
    return row | absent | {"credits": credits_}


def told_alike(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """No array is an empty one to BigQuery."""
    count = len(ARRAYS)
    return [(*row[:-count], *map(_elements, row[-count:])) for row in rows]


def _elements(text: str | None) -> list[object]:
    """With amounts as they are: BigQuery writes a NUMERIC as a text, DuckDB all its places."""
    found = json.loads(text or "[]", parse_float=Decimal, parse_int=Decimal)
    return [
        each | {"amount": Decimal(each["amount"])} if each.get("amount") else each
        for each in found
        if each is not None
    ]


@pytest.fixture(scope="module", params=["table", "files"])
def elsewhere(
    bill: Bill,
    bigquery_server: Running,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Bill]:
    """The same bill in a dataset of BigQuery, from a table of BigQuery or from the same files."""
    folder = tmp_path_factory.mktemp("elsewhere")
    bigquery_server.fake.reset()
    settings = Settings(
        home=folder / "home", warehouse="bigquery", bigquery_endpoint=bigquery_server.url
    )
    with pytest.MonkeyPatch.context() as patch:
        # BigQuery would drop the days of this bill, were they as old as they are today.
        patch.setattr(wiring, "SystemClock", FakeClock)
        service = wiring.build(settings)
    onboard(service, application("acme", plan="SCALE"))
    from_files = request.param == "files"
    grant_export(service, bill.folder / "*.parquet" if from_files else None, "acme")
    rows = bill.rows if from_files else write_table(bigquery_server, folder)
    run = run_sync(service)
    assert run.status is Status.COMPLETED, run.error
    yield Bill(service=service, rows=rows, folder=folder)
    service.close()


def write_table(running: Running, folder: Path) -> list[Row]:
    """All traps in a table of BigQuery, as it has them."""
    rows = [
        as_bigquery_has(name, row, number)
        for name, rows in KILLERS.items()
        for number, row in enumerate(rows)
    ]
    with running.client("billing") as client:
        export = Export(client=client, table=EXPORT, scratch=folder)
        export.create()
        export.write(rows, "all")
    return rows


def test_the_rows_are_the_same_in_both(bill: Bill, elsewhere: Bill) -> None:
    assert told_alike(elsewhere.query(ROWS)) == told_alike(bill.query(ROWS))


def test_each_trap_is_exact_in_bigquery(elsewhere: Bill) -> None:
    found = {row[:6]: oracle.Sums(*row[6:]) for row in elsewhere.query(BY_ALL)}
    assert found == oracle.bill(elsewhere.rows)
    assert all(item.is_equal for item in reconcile.reconciliation(elsewhere.service, "acme", None))
