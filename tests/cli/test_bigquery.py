"""The command line on BigQuery: from nothing to a loaded day, the schema, a tenant that moves."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from convergence.outside.clock import SystemClock
from tests.bigquery_rest.fixtures import bigquery_rest, bigquery_server
from tests.bigquery_rest.server import Running
from tests.cli.conftest import DAY, TEMPLATE, Cdp
from tests.exports import export_row
from tests.warehouse.bigquery_exports import Export

__all__ = ["bigquery_rest", "bigquery_server"]
TABLE = "local.billing.gcp_billing_export_v1_CLI"
SUM = "SELECT SUM(cost), COUNT(*) FROM billing_cost_daily"


@pytest.fixture(autouse=True)
def _days_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is three days after the bill's, whenever that is: BigQuery drops what is old."""
    now = SystemClock.now
    gone = now(SystemClock()) - datetime.fromisoformat(DAY).replace(tzinfo=UTC)
    shift = gone - timedelta(days=3)
    monkeypatch.setattr(SystemClock, "now", lambda clock: now(clock) - shift)


@pytest.fixture
def bigquery(
    cdp: Cdp, bigquery_rest: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Cdp:
    """A home whose warehouse is BigQuery, and an export there with three rows of a day."""
    monkeypatch.setenv("CDP_WAREHOUSE", "bigquery")
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_rest.url)
    with bigquery_rest.client("local") as client:
        export = Export(client=client, table=TABLE, scratch=tmp_path)
        export.create()
        start = datetime.fromisoformat(DAY).replace(hour=5, tzinfo=UTC)
        times = {"usage_start_time": start, "usage_end_time": start.replace(hour=6)}
        invoice = {"month": "202503", "publisher_type": "GOOGLE"}
        row = export_row(**times, cost=0.000000001, invoice=invoice)
        export.write([row] * 3, "first")
    return cdp


def onboard(cdp: Cdp) -> None:
    assert cdp("tenants", "onboard", "acme", "--email", "finops@acme.example").code == 0
    added = cdp("sources", "add", TABLE, "--kind", "gcp_standard", "-t", "acme")
    assert added.code == 0, added.err


def test_an_empty_project_comes_to_its_first_day(bigquery: Cdp, bigquery_rest: Running) -> None:
    (seen,) = [r for r in bigquery("doctor", "--json").json if r["check"] == "warehouse"]
    assert "BigQuery answers for project local, and datasets can be made" in seen["seen"], seen
    made = bigquery("db", "bootstrap", "--json")
    assert (made.code, {row["state"] for row in made.json}) == (0, {"made"}), made.err
    asked = ("tenants", "dryrun", "acme", "--email", "a@b.example", "--source")
    checked = bigquery(*asked, TABLE, "--json")
    assert checked.code == 0, checked.out + checked.err
    (export,) = [row["message"] for row in checked.json if row["check_name"] == "export"]
    assert f"3 rows in EUR, {DAY} to {DAY} (0 days without rows)" in export, export
    absent = bigquery(*asked, f"{TABLE}_ABSENT", "--json")
    assert absent.code == 1
    assert "roles/bigquery.dataViewer" in absent.json[-1]["message"]
    bigquery_rest.fake.denied.add("bigquery.datasets.create")
    refused = [row for row in bigquery(*asked, TABLE, "--json").json if not row["passed"]]
    assert "lacks bigquery.datasets.create" in refused[0]["message"]
    bigquery_rest.fake.denied.clear()
    onboard(bigquery)
    assert bigquery("db", "check", "--json").json == []
    (seen,) = bigquery("sources", "check", TABLE, "--json").json
    assert (seen["reaches"][0]["rows"], seen["reaches"][0]["days_without_rows"]) == (3, 0)
    planned = bigquery("plan", TEMPLATE, "-t", "acme", "--date", DAY)
    assert "USD at 6.25 USD per TiB" in planned.out, planned.err
    limited = bigquery("quota", "set", "acme", "--bytes", "10485760", "--json").json
    assert limited["limits"]["maximum_bytes_billed"] == 10485760
    ran = bigquery("run", TEMPLATE, "-t", "acme", "--date", DAY)
    assert ran.code == 0, ran.err
    jobs = [job.configuration.get("query", {}) for job in bigquery_rest.fake.jobs.all("local")]
    assert {"10485760"} == {
        job["maximumBytesBilled"] for job in jobs if "maximumBytesBilled" in job
    }
    assert bigquery("sql", "-t", "acme", SUM, "-o", "csv").out.splitlines()[1] == "0.000000003,3"


@pytest.mark.slow
def test_a_table_that_lost_a_column_is_told_and_mended(
    bigquery: Cdp, bigquery_rest: Running
) -> None:
    onboard(bigquery)
    with bigquery_rest.client("local") as client:
        table = client.get_table("local.acme.billing_cost_daily")
        client.delete_table(table)
        table.schema = table.schema[:-1]
        client.create_table(table)
    drifted = bigquery("db", "check", "--tenant", "acme")
    assert (drifted.code, "x_cost_at_effective_price_default" in drifted.out) == (2, True)
    mended = bigquery("db", "migrate", "--tenant", "acme")
    assert mended.code == 0, mended.out + mended.err
    assert bigquery("db", "check", "--tenant", "acme").code == 0


def test_a_tenant_moves_there_and_back(
    acme: Cdp, bigquery_rest: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_rest.url)
    assert acme("run", TEMPLATE, "-t", "acme", "--date", DAY).code == 0
    before = acme("sql", "-t", "acme", SUM, "-o", "csv").out
    moved = acme("tenants", "move", "acme", "--to", "bigquery", "--proof", "--json")
    assert moved.code == 0, moved.err
    bill = next(row for row in moved.json if row["table"] == "billing_cost_daily")
    assert (bill["day"], bill["currency"], bill["rows"] > 0) == (DAY, "EUR", True)
    refused = acme("sql", "-t", "acme", SUM)
    assert (refused.code, "cdp tenants move acme --to duckdb" in refused.err) == (1, True)
    doctor = acme("doctor", "--json")
    (told,) = [row for row in doctor.json if row["check"] == "tenants"]
    assert (told["status"], "cdp tenants move acme" in told["fix"]) == ("fail", True), told
    monkeypatch.setenv("CDP_WAREHOUSE", "bigquery")
    assert acme("sql", "-t", "acme", SUM, "-o", "csv").out == before
    again = acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    assert (again.code, acme("sql", "-t", "acme", SUM, "-o", "csv").out) == (0, before), again.err
    back = acme("tenants", "move", "acme", "--to", "duckdb")
    assert back.code == 0, back.err
    monkeypatch.setenv("CDP_WAREHOUSE", "duckdb")
    assert acme("sql", "-t", "acme", SUM, "-o", "csv").out == before
