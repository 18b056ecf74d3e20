import json
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import DAY, TEMPLATE, Cdp


def states(text: str) -> dict[str, str]:
    return {row["check"]: row["status"] for row in json.loads(text)}


def test_sound_home_has_no_failures(acme: Cdp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDP_PORT", "0")
    looked = acme("doctor", "--json")
    found = states(looked.out)
    assert looked.code == 0, looked.out
    assert found["python"] == found["store"] == found["warehouse"] == found["engine"] == "ok"
    assert found["template gcp/cost/cost_billing"] == "ok"
    assert found["source local.billing.export"] == "ok"
    assert found["mail"] == "warn"


def test_fresh_home_is_looked_at_and_not_made(cdp: Cdp, home: Path) -> None:
    looked = cdp("doctor", "--json")
    seen = {row["check"]: row["seen"] for row in looked.json}
    assert not home.exists()
    assert all("not there yet" in seen[check] for check in ("home", "engine", "warehouse"))
    assert "template gcp/cost/cost_billing" in seen


def test_mail_server_that_refuses_is_a_warning(cdp: Cdp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDP_SMTP_URL", "smtp://127.0.0.1:9")
    (row,) = [row for row in cdp("doctor", "--json").json if row["check"] == "mail"]
    assert row["status"] == "warn"
    assert "cannot be reached" in row["seen"]


def test_readable_secrets_and_unusable_templates_are_failures(
    acme: Cdp, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "pepper").chmod(0o644)
    broken = tmp_path / "mine/gcp/cost/broken.yml"
    broken.parent.mkdir(parents=True)
    broken.write_text("pipeline_id: [")
    monkeypatch.setenv("CDP_CONFIGS_DIR", str(tmp_path / "mine"))
    looked = acme("doctor", "--json")
    assert looked.code == 1
    assert states(looked.out)["template gcp/cost/broken"] == "fail"
    (row,) = [row for row in looked.json if row["check"] == "secret files"]
    assert (row["status"], row["fix"]) == ("fail", f"chmod 600 {home / 'pepper'}")


def test_source_without_files_is_a_warning(acme: Cdp, export: Path) -> None:
    (export / "a.csv").unlink()
    assert states(acme("doctor", "--json").out)["source local.billing.export"] == "warn"


def test_file_that_is_no_store_is_told(cdp: Cdp, home: Path) -> None:
    home.mkdir()
    (home / "control.db").write_text("this is not a database, whatever its name says" * 100)
    looked = cdp("doctor", "--json")
    assert looked.code == 1
    assert states(looked.out)["store"] == "fail"


def test_everything_in_a_home_is_private(acme: Cdp, home: Path) -> None:
    acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    made = [path for path in home.rglob("*") if not path.is_symlink()]
    assert (home / "control.db") in made
    assert any(path.suffix == ".duckdb" for path in made)
    assert [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_each_row_says_where_things_are(acme: Cdp, home: Path) -> None:
    seen = {row["check"]: row["seen"] for row in acme("doctor", "--json").json}
    assert str(home / "control.db") in seen["storage"]
    assert str(home / "warehouse") in seen["storage"]
    assert str(home / "admin.key") in seen["operator's key"]
    assert "as the store has it" in seen["clock"]
    assert seen["alerts"] == "to the tenants' administrators alone"


def test_login_of_a_database_is_not_shown(cdp: Cdp, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql+psycopg://cdp:geheim@/nowhere?host=/nonexistent"
    monkeypatch.setenv("CDP_DATABASE_URL", url)
    looked = cdp("doctor", "--json")
    assert "PostgreSQL /nowhere" in looked.out
    assert "geheim" not in looked.out + looked.err


def test_run_of_the_future_means_a_wrong_clock(acme: Cdp, home: Path) -> None:
    acme("run", TEMPLATE, "--tenant", "acme", "--date", DAY)
    with sqlite3.connect(home / "control.db") as store:
        store.execute("UPDATE pipeline_runs SET created_at = '2199-01-01 00:00:00.000000'")
    (row,) = [row for row in acme("doctor", "--json").json if row["check"] == "clock"]
    assert row["status"] == "fail"
    assert "timedatectl" in row["fix"]


def test_every_failure_and_warning_says_what_to_do(cdp: Cdp, tmp_path: Path) -> None:
    rows = cdp("doctor", "--json", "--home", "/proc/nowhere").json
    assert any(row["status"] == "fail" for row in rows)
    assert [row["check"] for row in rows if row["status"] != "ok" and not row["fix"]] == []
