import json
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Cdp


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


def test_status_of_a_fresh_home_changes_nothing(cdp: Cdp, home: Path) -> None:
    looked = cdp("db", "status", "--json")
    assert looked.code == 1
    assert looked.json[0]["state"] == "missing"
    assert not home.exists()


def test_migration_makes_store_and_tables_current(acme: Cdp, home: Path) -> None:
    assert acme("db", "migrate").code == 0
    looked = acme("db", "status", "--json")
    assert looked.code == 0
    assert {row["state"] for row in looked.json} == {"current"}
    assert {row["place"] for row in looked.json} == {"store", "acme"}


def test_store_of_a_newer_program_is_refused(acme: Cdp, home: Path) -> None:
    with sqlite3.connect(home / "control.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    refused = acme("db", "migrate")
    assert refused.code == 6
    assert "newer version" in refused.err
