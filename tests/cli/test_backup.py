"""The restore drill: everything is lost, and comes back from a backup."""

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import DAY, TEMPLATE, Cdp, Server, onboard
from tests.conftest import postgres_url

COUNT = "SELECT COUNT(*), SUM(cost) FROM billing_cost_daily"


def loaded(cdp: Cdp) -> tuple[object, object]:
    """What the tenant has: its rows, and its runs."""
    sums = cdp("sql", "-t", "acme", COUNT, "--json")
    runs = cdp("runs", "ls", "-t", "acme", "--json")
    assert sums.code == runs.code == 0, sums.err + runs.err
    return sums.json, runs.json


@pytest.fixture
def used(cdp: Cdp, export: Path) -> tuple[Cdp, str]:
    """A home with a tenant, a load and a key."""
    return _used(cdp, export)


def _used(cdp: Cdp, export: Path) -> tuple[Cdp, str]:
    onboard(cdp, export)
    key = cdp("tenants", "keys", "create", "acme", "--name", "drill", "--json")
    assert key.code == 0, key.err
    assert cdp("run", TEMPLATE, "-t", "acme", "--date", DAY).code == 0
    return cdp, key.json["api_key"]


def test_what_was_backed_up_comes_back_whole(
    used: tuple[Cdp, str], home: Path, tmp_path: Path, export: Path
) -> None:
    cdp, key = used
    before = loaded(cdp)
    pepper = (home / "pepper").read_text()
    kept = cdp("db", "backup", str(tmp_path / "saved"), "--json")
    assert kept.code == 0, kept.err
    names = {row["path"] for row in kept.json}
    assert {"control.db", "pepper", "admin.key", "warehouse/acme.duckdb"} <= names
    shutil.rmtree(home)
    restored = cdp("db", "restore", str(tmp_path / "saved"))
    assert restored.code == 0, restored.err
    assert loaded(cdp) == before
    assert (home / "pepper").read_text() == pepper
    assert key.split("_")[2] in cdp("tenants", "keys", "ls", "acme", "--json").out
    assert cdp("db", "check").code == 0
    assert cdp("run", TEMPLATE, "-t", "acme", "--date", "2025-03-02").code == 0


def test_a_backup_is_a_home_that_can_be_looked_at(used: tuple[Cdp, str], tmp_path: Path) -> None:
    cdp, _ = used
    cdp("db", "backup", str(tmp_path / "saved"))
    looked = cdp("runs", "ls", "-t", "acme", "--home", str(tmp_path / "saved"), "--json")
    assert looked.json == loaded(cdp)[1]


def test_a_backup_without_a_name_lies_in_the_home(used: tuple[Cdp, str], home: Path) -> None:
    cdp, _ = used
    assert cdp("db", "backup").code == 0
    (folder,) = (home / "backups").iterdir()
    assert (folder / "manifest.json").exists()
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*"))


def test_a_backup_never_overwrites_and_a_restore_wants_an_empty_home(
    used: tuple[Cdp, str], tmp_path: Path
) -> None:
    cdp, _ = used
    saved = str(tmp_path / "saved")
    assert cdp("db", "backup", saved).code == 0
    again = cdp("db", "backup", saved)
    assert again.code == 1
    assert "is there already" in again.err
    refused = cdp("db", "restore", saved)
    assert refused.code == 1
    assert "is not empty" in refused.err


@pytest.mark.parametrize("harm", ["changed", "lost", "no manifest", "nothing"])
def test_a_backup_that_is_not_whole_is_refused_and_changes_nothing(
    used: tuple[Cdp, str], tmp_path: Path, harm: str
) -> None:
    cdp, _ = used
    saved = tmp_path / "saved"
    cdp("db", "backup", str(saved))
    if harm == "changed":
        (saved / "warehouse" / "acme.duckdb").write_bytes(b"other")
    elif harm == "lost":
        (saved / "pepper").unlink()
    elif harm == "no manifest":
        (saved / "manifest.json").unlink()
    else:
        shutil.rmtree(saved)
    fresh = tmp_path / "fresh"
    refused = cdp("db", "restore", str(saved), "--home", str(fresh))
    assert refused.code == 2
    assert "no backup that can be restored" in refused.err
    assert not (fresh / "control.db").exists()


def test_a_missing_tenant_is_told_and_the_others_are_copied(
    used: tuple[Cdp, str], home: Path, tmp_path: Path, export: Path
) -> None:
    cdp, _ = used
    onboard(cdp, export, "other")
    (home / "warehouse" / "acme.duckdb").unlink()
    kept = cdp("db", "backup", str(tmp_path / "saved"), "--json")
    assert kept.code == 1
    errors = {row["path"]: row["error"] for row in kept.json}
    assert "acme.duckdb" in errors["warehouse/acme.duckdb"]
    assert errors["warehouse/other.duckdb"] == ""


def test_beside_a_server_a_backup_is_refused_with_what_to_do(server: Server, cdp: Cdp) -> None:
    refused = cdp("db", "backup")
    assert refused.code == 6
    assert "stop it" in refused.err


@pytest.mark.postgres
def test_a_store_on_postgresql_comes_back_in_an_empty_database(
    cdp: Cdp,
    export: Path,
    home: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = (next(urls) for urls in (postgres_url(request), postgres_url(request)))
    monkeypatch.setenv("CDP_DATABASE_URL", first)
    _used(cdp, export)
    before = loaded(cdp)
    assert cdp("db", "backup", str(tmp_path / "saved")).code == 0
    shutil.rmtree(home)
    monkeypatch.setenv("CDP_DATABASE_URL", second)
    restored = cdp("db", "restore", str(tmp_path / "saved"))
    assert restored.code == 0, restored.err
    assert loaded(cdp) == before
    assert cdp("db", "check").code == 0
    assert cdp("run", TEMPLATE, "-t", "acme", "--date", "2025-03-02").code == 0
