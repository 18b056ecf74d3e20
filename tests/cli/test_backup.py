"""The restore drill: everything is lost, and comes back from a backup."""

import io
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest

from convergence.cli.app import main
from convergence.engine import backup
from tests.cli.conftest import (
    DAY,
    TEMPLATE,
    Cdp,
    Ended,
    Server,
    add_source,
    onboard,
    program,
    serve,
    write_export,
)
from tests.conftest import HEADER, export_line, postgres_url

COUNT = "SELECT COUNT(*), SUM(cost) FROM billing_cost_daily"


def loaded(cdp: Cdp, tenant: str = "acme", *place: str) -> tuple[object, object]:
    """What the tenant has: its rows, and its runs."""
    sums = cdp("sql", "-t", tenant, COUNT, "--json", *place)
    runs = cdp("runs", "ls", "-t", tenant, "--json", *place)
    assert sums.code == runs.code == 0, sums.err + runs.err
    return sums.json, runs.json


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory, with_acme: Path) -> tuple[Path, str]:
    """A home with a tenant, a load and a key, to be copied; and the key."""
    folder = tmp_path_factory.mktemp("drill")
    shutil.copytree(with_acme, folder / "home")

    def cdp(*arguments: str) -> Ended:
        with redirect_stdout(io.StringIO()) as out:
            code = main([*arguments, "--home", str(folder / "home")])
        return Ended(code=code, out=out.getvalue(), err="")

    add_source(cdp, write_export(folder / "export"))
    return folder / "home", use(cdp)


@pytest.fixture
def used(cdp: Cdp, home: Path, drilled: tuple[Path, str]) -> tuple[Cdp, str]:
    shutil.copytree(drilled[0], home)
    return cdp, drilled[1]


def use(cdp: Cdp, tenant: str = "acme") -> str:
    """Make a key, which is returned, and load a day."""
    key = cdp("tenants", "keys", "create", tenant, "--name", "drill", "--json")
    assert key.code == 0, key.err
    assert cdp("run", TEMPLATE, "-t", tenant, "--date", DAY).code == 0
    return str(key.json["api_key"])


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


@pytest.mark.parametrize("look", [("runs", "ls", "-t", "acme"), ("db", "status")])
def test_a_backup_is_no_home_and_stays_as_it_was_made(
    used: tuple[Cdp, str], tmp_path: Path, look: tuple[str, ...]
) -> None:
    cdp, _ = used
    cdp("db", "backup", str(tmp_path / "saved"))
    looked = cdp(*look, "--home", str(tmp_path / "saved"))
    assert looked.code != 0
    assert "cdp db restore" in looked.err
    restored = cdp("db", "restore", str(tmp_path / "saved"), "--home", str(tmp_path / "new"))
    assert restored.code == 0, restored.err


def test_a_restore_that_was_cut_off_is_no_home(
    used: tuple[Cdp, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cdp, _ = used
    cdp("db", "backup", str(tmp_path / "saved"))

    def cut(source: Path, target: Path) -> None:
        if target.name == "control.db":
            raise KeyboardInterrupt
        copy(source, target)

    copy = backup._copy
    monkeypatch.setattr(backup, "_copy", cut)
    assert cdp("db", "restore", str(tmp_path / "saved"), "--home", str(tmp_path / "new")).code
    monkeypatch.setattr(backup, "_copy", copy)
    for verb in (("tenants", "ls"), ("db", "restore", str(tmp_path / "saved"))):
        refused = cdp(*verb, "--home", str(tmp_path / "new"))
        assert refused.code != 0
        assert "was cut off" in refused.err


def test_a_home_that_is_not_there_is_not_backed_up(cdp: Cdp, tmp_path: Path) -> None:
    refused = cdp("db", "backup", str(tmp_path / "saved"), "--home", str(tmp_path / "typo"))
    assert refused.code == 4
    assert not (tmp_path / "saved").exists()
    assert not (tmp_path / "typo").exists()


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
    restored = cdp("db", "restore", str(tmp_path / "saved"), "--home", str(tmp_path / "new"))
    assert restored.code == 1
    assert "acme.duckdb" in restored.err


def test_a_server_backs_up_its_home_and_goes_on(
    server: Server, cdp: Cdp, export: Path, tmp_path: Path
) -> None:
    onboard(cdp, export, "saved_beside")
    use(cdp, "saved_beside")
    before = loaded(cdp, "saved_beside")
    kept = cdp("db", "backup", str(tmp_path / "saved"), "--json")
    assert "warehouse/saved_beside.duckdb" in {row["path"] for row in kept.json}, kept.err
    assert list((server.home / "backups").iterdir()) == []
    assert cdp("run", TEMPLATE, "-t", "saved_beside", "--date", "2025-03-02").code == 0
    fresh = ("--home", str(tmp_path / "fresh"))
    assert cdp("db", "restore", str(tmp_path / "saved"), *fresh).code == 0
    assert loaded(cdp, "saved_beside", *fresh) == before


def test_a_folder_of_this_machine_is_none_of_a_server_elsewhere(server: Server, cdp: Cdp) -> None:
    refused = cdp("db", "backup", "here", "--server", server.url)
    assert refused.code == 2
    assert "leave FOLDER out" in refused.err


def test_a_place_that_cannot_be_written_leaves_the_backup_where_it_is(
    used: tuple[Cdp, str], home: Path, tmp_path: Path
) -> None:
    cdp, _ = used
    (tmp_path / "file").write_text("no folder")
    refused = cdp("db", "backup", str(tmp_path / "file" / "saved"))
    assert refused.code == 6
    (folder,) = (home / "backups").iterdir()
    assert str(folder) in refused.err
    assert (folder / "manifest.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_backups_in_the_middle_of_loads_come_back_to_the_whole_bill(
    home: Path, cdp: Cdp, export: Path, tmp_path: Path
) -> None:
    """The server of the restored home ends what the backup found under way; then all is there."""
    days = [f"2025-04-{day:02}" for day in range(1, 13)]
    lines = [HEADER, *(export_line(day, "1.5", "", "202504") for day in days)]
    (export / "april.csv").write_text("\n".join(lines) + "\n")
    onboard(cdp, export)
    assert cdp("quota", "set", "acme", "--daily", "200", "--monthly", "200").code == 0
    span = ("--from", days[0], "--to", days[-1], "-t", "acme")
    with started(home), ThreadPoolExecutor(1) as pool:
        filling = pool.submit(program, "backfill", TEMPLATE, *span)
        saved = [tmp_path / f"saved-{number}" for number in range(3)]
        for folder in saved:
            assert cdp("db", "backup", str(folder), "--json").code == 0
        assert filling.result(600).code == 0
    for folder in saved:
        fresh = ("--home", str(tmp_path / f"fresh-{folder.name}"))
        assert cdp("db", "restore", str(folder), *fresh).code == 0
        with started(Path(fresh[1])):
            again = program("backfill", TEMPLATE, *span, *fresh)
            assert again.code == 0, again.err
            runs = cdp("runs", "ls", "-t", "acme", *fresh, "--json").json
        assert {run["status"] for run in runs} == {"COMPLETED"}
        april = f"{COUNT} WHERE invoice_month = '202504'"
        (row,) = cdp("sql", "-t", "acme", april, *fresh, "--json").json
        assert list(row.values()) == [12, "18.000000000"]


@contextmanager
def started(home: Path) -> Iterator[None]:
    server = serve(home)
    try:
        yield
    finally:
        server.stop()


@pytest.fixture
def choose_store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    def choose(store: str) -> None:
        if store == "postgres":
            monkeypatch.setenv("CDP_DATABASE_URL", next(postgres_url(request)))
        else:
            monkeypatch.delenv("CDP_DATABASE_URL", raising=False)

    return choose


@pytest.mark.postgres
@pytest.mark.parametrize(
    "way",
    [
        ("sqlite", "postgres"),
        pytest.param(("postgres", "postgres"), marks=pytest.mark.slow),
        pytest.param(("postgres", "sqlite"), marks=pytest.mark.slow),
    ],
)
def test_a_store_comes_back_in_an_empty_one_of_either_database(
    cdp: Cdp,
    export: Path,
    home: Path,
    tmp_path: Path,
    choose_store: Callable[[str], None],
    way: tuple[str, str],
) -> None:
    choose_store(way[0])
    onboard(cdp, export)
    use(cdp)
    before = loaded(cdp)
    assert cdp("db", "backup", str(tmp_path / "saved")).code == 0
    shutil.rmtree(home)
    choose_store(way[1])
    restored = cdp("db", "restore", str(tmp_path / "saved"))
    assert restored.code == 0, restored.err
    assert loaded(cdp) == before
    assert cdp("db", "check").code == 0
    assert cdp("run", TEMPLATE, "-t", "acme", "--date", "2025-03-02").code == 0
