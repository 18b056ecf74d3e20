"""`cdp db`: what differs is told, mended, and told to be mended."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import pytest

from tests.cli.conftest import DAY, TEMPLATE, Cdp, Ended, Server, onboard
from tests.conftest import postgres_url

QUOTAS = "tenant_usage_quotas"


def states(ended: Ended) -> dict[tuple[str, str], str]:
    return {(row["place"], row["table"]): row["state"] for row in ended.json}


@contextmanager
def store(home: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(home / "control.db")) as database, database:
        yield database


@contextmanager
def tables(home: Path, dataset: str = "acme") -> Iterator[duckdb.DuckDBPyConnection]:
    with closing(duckdb.connect(home / "warehouse" / f"{dataset}.duckdb")) as opened:
        yield opened


@pytest.fixture
def drifted(acme: Cdp, home: Path) -> Cdp:
    """One of the nine columns is lost in the store and in the copy, a table is missing."""
    assert acme("db", "migrate").code == 0
    with store(home) as database:
        database.execute(f"ALTER TABLE {QUOTAS} DROP COLUMN max_concurrent_reached")
    with tables(home) as warehouse:
        warehouse.execute(f"ALTER TABLE tenants.{QUOTAS} DROP COLUMN quota_exceeded")
        warehouse.execute("DROP TABLE x_meta_dq_results")
    return acme


def test_a_home_that_is_not_made_yet_is_clean_and_stays_so(cdp: Cdp, home: Path) -> None:
    for verb in ("status", "check"):
        assert cdp("db", verb).code == 0
    assert not home.exists()


def test_an_untouched_home_is_clean(acme: Cdp) -> None:
    for verb in ("status", "check"):
        looked = acme("db", verb, "--json")
        assert looked.code == 0, looked.out
    places = {row["place"] for row in acme("db", "status", "--json").json}
    assert places == {"store", "acme", "tenants"}


def test_drift_of_the_store_is_told_mended_and_gone(drifted: Cdp) -> None:
    checked = drifted("db", "check", "--json")
    assert checked.code == 2
    row, unseen = checked.json
    assert (unseen["place"], unseen["state"]) == ("warehouse", "not looked at")
    assert (row["place"], row["table"], row["state"]) == ("store", QUOTAS, "drifted")
    assert row["drifts"] == [
        {
            "column": "max_concurrent_reached",
            "drift": "missing column",
            "wanted": "BIGINT",
            "found": "",
            "verdict": "additive",
        }
    ]
    mended = drifted("db", "migrate", "--json")
    assert mended.code == 0, mended.out
    assert states(mended)["acme", QUOTAS] == "mended"
    assert states(mended)["acme", "x_meta_dq_results"] == "mended"
    assert drifted("db", "check").code == 0
    again = drifted("db", "migrate", "--json")
    assert {row["state"] for row in again.json} == {"current"}


def test_a_plan_shows_the_statements_and_runs_none(drifted: Cdp) -> None:
    planned = drifted("db", "migrate", "--plan", "--json")
    assert planned.code == 2
    rows = {(row["place"], row["table"]): row["statements"] for row in planned.json}
    assert any("CREATE TABLE" in statement for statement in rows["store", "(all)"])
    assert rows["acme", "x_meta_dq_results"]
    assert drifted("db", "check").code == 2


def test_what_was_done_is_recorded_with_number_and_checksum(drifted: Cdp, home: Path) -> None:
    drifted("db", "migrate")
    with tables(home) as warehouse:
        rows = warehouse.execute(
            "SELECT number, table_name, length(checksum), statements"
            " FROM x_meta_schema_migrations ORDER BY number"
        ).fetchall()
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert {row[2] for row in rows} == {64}
    last = {row[1]: row[3] for row in rows}
    assert "CREATE TABLE" in last["x_meta_dq_results"]
    assert drifted("db", "migrate").code == 0
    with tables(home) as warehouse:
        again = warehouse.execute("SELECT number FROM x_meta_schema_migrations").fetchall()
    assert len(again) == len(rows)


def test_a_server_does_not_start_on_a_store_that_lacks_a_column(drifted: Cdp) -> None:
    refused = drifted("serve", "--port", "0")
    assert refused.code == 6
    assert "max_concurrent_reached" in refused.err
    assert "cdp db migrate" in refused.err


def test_a_store_of_a_newer_program_is_an_error(acme: Cdp, home: Path) -> None:
    with store(home) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    looked = acme("db", "status")
    assert looked.code == 1
    assert "9999" in looked.out
    for verb in (("db", "migrate"), ("serve", "--port", "0")):
        refused = acme(*verb)
        assert refused.code == 6
        assert "newer version" in refused.err


def test_a_migration_that_was_another_is_told_and_taken_with_approval(
    acme: Cdp, home: Path
) -> None:
    with store(home) as database:
        database.execute("UPDATE deployment SET value = 'x' WHERE name = 'migration.0002'")
    checked = acme("db", "check")
    assert checked.code == 2
    assert "migration 0002" in checked.out
    assert acme("db", "migrate").code == 2
    approved = acme("db", "migrate", "--approve-migrations", "--json")
    assert approved.code == 0, approved.out
    assert "approved migration 0002" in approved.json[0]["detail"]
    assert acme("db", "check").code == 0


def test_an_extra_column_is_told_kept_and_dropped_with_approval(acme: Cdp, home: Path) -> None:
    with tables(home) as warehouse:
        warehouse.execute("ALTER TABLE billing_cost_daily ADD COLUMN surprise VARCHAR")
    checked = acme("db", "check")
    assert checked.code == 2
    assert "surprise" in checked.out
    assert "needs approval" in checked.out
    assert acme("run", TEMPLATE, "-t", "acme", "--date", DAY).code == 0
    assert acme("db", "migrate").code == 2
    with tables(home) as warehouse:
        warehouse.execute("SELECT surprise FROM billing_cost_daily")
    assert acme("db", "migrate", "--approve").code == 0
    assert acme("db", "check").code == 0


def test_a_load_into_a_table_that_lacks_a_column_is_blocked_and_told(acme: Cdp, home: Path) -> None:
    with tables(home) as warehouse:
        warehouse.execute("ALTER TABLE billing_cost_daily DROP COLUMN invoice_month")
    refused = acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    assert refused.code == 1
    assert "invoice_month" in refused.err + refused.out
    assert "cdp db migrate" in refused.err + refused.out
    assert acme("db", "migrate").code == 0
    assert acme("run", TEMPLATE, "-t", "acme", "--date", DAY).code == 0


@pytest.mark.parametrize("harm", ["damaged", "deleted"])
def test_a_broken_tenant_is_told_and_holds_up_no_other(
    acme: Cdp, home: Path, export: Path, harm: str
) -> None:
    onboard(acme, export, "other")
    path = home / "warehouse" / "acme.duckdb"
    if harm == "damaged":
        path.write_bytes(b"not a database" * 1000)
    else:
        path.unlink()
    with tables(home, "other") as warehouse:
        warehouse.execute("DROP TABLE x_meta_loads")
    for ask in (("sql", "-t", "acme", "SELECT 1 FROM billing_cost_daily"), ("db", "status")):
        told = acme(*ask)
        assert told.code != 0
        assert "backup" in told.err + told.out
        assert "acme.duckdb" in told.err + told.out
    failed = acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    assert failed.code == 1
    assert "backup" in failed.err + failed.out
    mended = acme("db", "migrate", "--json")
    assert states(mended)["other", "x_meta_loads"] == "mended"
    assert mended.code == (1 if harm == "damaged" else 0)


def test_one_tenant_alone_is_looked_at(drifted: Cdp, export: Path) -> None:
    drifted("db", "migrate")
    onboard(drifted, export, "other")
    looked = drifted("db", "status", "--tenant", "other", "--json")
    assert {row["place"] for row in looked.json} == {"store", "other"}
    assert drifted("db", "status", "--tenant", "nobody").code == 4


def test_status_beside_a_server_has_that_one_look_at_its_tables(server: Server, cdp: Cdp) -> None:
    looked = cdp("db", "status", "--json")
    assert looked.code == 0, looked.err
    assert {row["state"] for row in looked.json} == {"current"}
    assert {row["place"] for row in looked.json} >= {"store"}
    refused = cdp("db", "migrate")
    assert refused.code == 6
    assert "--server" not in refused.err


def test_bootstrap_sets_up_a_new_place_and_may_be_repeated(cdp: Cdp) -> None:
    first = cdp("db", "bootstrap", "--json")
    assert first.code == 0, first.err
    assert {row["state"] for row in first.json} == {"made"}
    assert {row["place"] for row in first.json} == {"store", "tenants"}
    again = cdp("db", "bootstrap", "--json")
    assert {row["state"] for row in again.json} == {"current"}
    assert cdp("db", "check").code == 0


@pytest.mark.postgres
def test_bootstrap_sets_up_an_empty_postgresql(
    cdp: Cdp, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDP_DATABASE_URL", next(postgres_url(request)))
    first = cdp("db", "bootstrap", "--json")
    assert first.code == 0, first.err
    assert cdp("db", "check").code == 0


def test_what_is_forbidden_stays_whoever_approves_and_the_rest_is_mended(
    acme: Cdp, home: Path
) -> None:
    with tables(home) as warehouse:
        warehouse.execute("ALTER TABLE billing_cost_daily ALTER cost TYPE DOUBLE")
        warehouse.execute("ALTER TABLE billing_cost_daily DROP COLUMN sku_description")
    verbs = ((), ("--approve",), ("--approve",))
    brought = [acme("db", "migrate", *approved, "--json") for approved in verbs]
    assert [each.code for each in brought] == [2, 2, 2]
    assert states(brought[1])["acme", "billing_cost_daily"] == "schema_blocked"
    assert not any(row["statements"] for row in brought[2].json), "it has done all before"
    with tables(home) as warehouse:
        warehouse.execute("SELECT sku_description FROM billing_cost_daily")
        done = warehouse.execute(
            "SELECT count(*) FROM x_meta_schema_migrations"
            " WHERE table_name = 'billing_cost_daily' AND checksum = ''"
        ).fetchall()
    assert done == [(1,)]


def test_a_harmless_difference_of_the_store_hides_none_of_the_tables(acme: Cdp, home: Path) -> None:
    with store(home) as database:
        database.execute("ALTER TABLE tenant_profiles ADD COLUMN note TEXT")
    with tables(home) as warehouse:
        warehouse.execute("ALTER TABLE billing_cost_daily DROP COLUMN currency")
    checked = acme("db", "check", "--json")
    assert checked.code == 2
    assert {(row["place"], row["table"]) for row in checked.json} == {
        ("store", "tenant_profiles"),
        ("acme", "billing_cost_daily"),
    }
