"""What is DuckDB's own: kills, locks, full disks, and the walls around an instance."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from convergence.errors import NotFound, StepFailed, WarehouseError
from convergence.model.cancel import CancelToken
from convergence.warehouse.duckdb.instances import Instances
from convergence.warehouse.duckdb.warehouse import DuckdbWarehouse
from convergence.warehouse.files import instance
from convergence.warehouse.files.shapes import digest
from convergence.warehouse.schemas import load_schema

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant

COUNT = "SELECT COUNT(*) FROM billing_cost_daily"
Rows = Callable[..., dict[str, Any]]
Write = Callable[..., Path]

CHILD = """
import importlib.util, os, resource, signal, sys
from pathlib import Path
from convergence.errors import StepFailed
here, home, exports, act = sys.argv[1:]
spec = importlib.util.spec_from_file_location("builders", Path(here) / "conftest.py")
builders = importlib.util.module_from_spec(spec)
sys.modules["builders"] = builders
spec.loader.exec_module(builders)
warehouse = builders.DuckdbWarehouse(
    Path(home), folders=lambda _: (Path(exports),), memory_limit="512MB"
)
tenant = builders.Tenant(warehouse=warehouse, dataset="acme", files=f"{exports}/*.parquet")
if act == "disk full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = warehouse.storage_bytes("acme") + 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        tenant.load(load_id="load-2", run_id="run-2")
    except StepFailed as error:
        print(type(error).__name__, error.code)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(tenant.rows("SELECT COUNT(*) FROM billing_cost_daily")[0][0])
    sys.exit()
staged = tenant.stage(run_id="run-2")
if act != "stage":
    tenant.totals(staged)
if act == "publish":
    warehouse.publish(staged, builders.record("load-2"))
if act == "discard":
    warehouse.discard(staged)
os.kill(os.getpid(), signal.SIGKILL)
"""


def run_child(tmp_path: Path, act: str) -> "subprocess.CompletedProcess[str]":
    arguments = [str(Path(__file__).parent), str(tmp_path / "home"), str(tmp_path / "exports/acme")]
    return subprocess.run(
        [sys.executable, "-c", CHILD, *arguments, act],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=50,
    )


@pytest.mark.parametrize(
    ("act", "rows"), [("stage", 1), ("totals", 1), ("discard", 1), ("publish", 2)]
)
def test_a_kill_leaves_the_old_rows_or_the_new_ones(
    tenant: "Tenant", make_row: Rows, write_parquet: Write, tmp_path: Path, act: str, rows: int
) -> None:
    write_parquet([make_row()])
    tenant.load()
    tenant.warehouse.close()
    write_parquet([make_row(), make_row()])
    assert run_child(tmp_path, act).returncode == -9
    assert tenant.rows(COUNT) == [(rows,)]
    assert tenant.warehouse.is_published("acme", "load-2") is (act == "publish")
    tenant.load(load_id="load-3", run_id="run-3")
    assert tenant.rows(COUNT) == [(2,)]


def test_a_full_disk_fails_the_load_and_keeps_the_old_rows(
    tenant: "Tenant", make_row: Rows, write_parquet: Write, tmp_path: Path
) -> None:
    write_parquet([make_row()])
    tenant.load()
    tenant.warehouse.close()
    unlike = [
        make_row(labels=[{"key": str(number), "value": str(hash(str(number)) ** 9)}])
        for number in range(20_000)
    ]
    write_parquet(unlike)
    child = run_child(tmp_path, "disk full")
    assert child.stdout.split() == ["StepFailed", "disk_full", "1"], child.stderr
    assert tenant.rows(COUNT) == [(1,)]


def test_a_file_that_another_process_holds_is_told(tenant: "Tenant", tmp_path: Path) -> None:
    tenant.warehouse.close()
    path = tmp_path / "home" / "warehouse" / "acme.duckdb"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); input()",
            str(path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(WarehouseError) as caught:
            tenant.rows(COUNT)
        holder.communicate(b"\n")
    assert caught.value.code == "warehouse_locked"
    assert "stop the other process" in caught.value.hint
    assert tenant.rows(COUNT) == [(0,)]


def test_a_damaged_file_is_told(tenant: "Tenant", tmp_path: Path) -> None:
    tenant.warehouse.close()
    path = tmp_path / "home" / "warehouse" / "acme.duckdb"
    path.write_bytes(b"\0" * 100_000)
    with pytest.raises(WarehouseError) as caught:
        tenant.rows(COUNT)
    assert caught.value.code == "warehouse_damaged"
    assert str(path) in caught.value.detail
    assert "restore" in caught.value.hint


def test_a_file_that_is_taken_away_while_it_is_open_is_told(
    tenant: "Tenant", tmp_path: Path
) -> None:
    assert tenant.rows(COUNT) == [(0,)]
    (tmp_path / "home" / "warehouse" / "acme.duckdb").unlink()
    with pytest.raises(NotFound, match=r"acme\.duckdb is not there"):
        tenant.rows(COUNT)


def test_a_block_that_is_damaged_is_told(tenant: "Tenant", tmp_path: Path) -> None:
    tenant.warehouse.close()
    path = tmp_path / "home" / "warehouse" / "acme.duckdb"
    with closing(duckdb.connect(path)) as opened:
        opened.execute("CREATE TABLE big AS SELECT hash(i) AS h FROM range(400_000) t(i)")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300_000] = b"?" * 300_000
    path.write_bytes(content)
    with pytest.raises(WarehouseError) as caught:
        tenant.rows("SELECT COUNT(DISTINCT h) FROM big")
    assert caught.value.code == "warehouse_damaged"
    assert "restore" in caught.value.hint


@pytest.fixture
def instances(tmp_path: Path, folders: dict[str, tuple[Path, ...]]) -> Iterator[Instances]:
    made = Instances(
        tmp_path / "home",
        lambda dataset: folders.get(dataset, ()),
        memory_limit="256MB",
        threads=1,
        max_open=2,
    )
    yield made
    made.close()


ESCAPES = (
    "SELECT * FROM read_text('/etc/hostname')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM glob('/*')",
    "COPY (SELECT 1) TO '/tmp/escaped.csv'",
    "ATTACH '{neighbour}' AS neighbour",
    "SELECT * FROM '{neighbour}'",
    "SELECT * FROM read_blob('{inside}/../../secret.parquet')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '100GB'",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "SET temp_directory = '/tmp'",
    "CREATE SECRET s (TYPE s3)",
    "EXPORT DATABASE '/tmp/escaped'",
)


@pytest.mark.parametrize("sql", ESCAPES)
def test_an_instance_reaches_nothing_outside_its_folders(
    instances: Instances, tmp_path: Path, folders: dict[str, tuple[Path, ...]], sql: str
) -> None:
    inside = tmp_path / "exports" / "acme"
    inside.mkdir(parents=True)
    (tmp_path / "secret.parquet").write_bytes(b"secret")
    folders["acme"] = (inside,)
    with instances.lend("neighbour", create=True) as cursor:
        cursor.execute("SELECT 1")
    statement = sql.format(inside=inside, neighbour=instances.path("neighbour"))
    with instances.lend("acme", create=True) as cursor, pytest.raises(duckdb.Error):
        cursor.execute(statement)


def test_only_the_least_used_idle_instances_are_closed(instances: Instances) -> None:
    with instances.lend("busy", create=True) as cursor:
        for name in ("one", "two", "three"):
            with instances.lend(name, create=True) as other:
                other.execute("SELECT 1")
        assert instances.open_datasets() == ["busy", "three"]
        assert cursor.execute("SELECT 42").fetchall() == [(42,)]


def test_a_folder_that_is_granted_later_can_be_read(
    tenant: "Tenant",
    tmp_path: Path,
    folders: dict[str, tuple[Path, ...]],
    make_row: Rows,
    write_parquet: Write,
) -> None:
    path = write_parquet([make_row()])
    assert tenant.load().rows == 1
    later = tmp_path / "later"
    later.mkdir()
    path.rename(later / "day.parquet")
    tenant.files = f"{later}/*.parquet"
    with pytest.raises(StepFailed, match=r"day\.parquet"):
        tenant.load(load_id="load-2")
    folders["acme"] = (later,)
    assert tenant.load(load_id="load-3").rows == 1


def test_reopening_waits_for_an_open_load(
    tenant: "Tenant",
    tmp_path: Path,
    folders: dict[str, tuple[Path, ...]],
    make_row: Rows,
    write_parquet: Write,
) -> None:
    write_parquet([make_row()])
    staged = tenant.stage()
    folders["acme"] = (*folders["acme"], tmp_path / "another")
    ended: list[float] = []

    def load() -> None:
        tenant.load(tenant.request().key.day, load_id="load-2")
        ended.append(time.monotonic())

    waiting = threading.Thread(target=load)
    waiting.start()
    assert tenant.rows(COUNT) == [(0,)]
    discarded = time.monotonic()
    tenant.warehouse.discard(staged)
    waiting.join(30)
    assert ended
    assert ended[0] > discarded


def test_the_file_can_be_read_by_older_versions(tenant: "Tenant", tmp_path: Path) -> None:
    tenant.warehouse.close()
    path = tmp_path / "home" / "warehouse" / "acme.duckdb"
    with duckdb.connect(str(path), read_only=True) as connection:
        tags = connection.execute(
            "SELECT tags['storage_version'] FROM duckdb_databases() WHERE NOT internal"
        ).fetchall()
    assert tags[0][0].startswith("v1.5")


def test_a_dataset_that_is_not_there_is_not_made_by_reading(
    tenant: "Tenant", tmp_path: Path
) -> None:
    with pytest.raises(NotFound):
        tenant.warehouse.is_published("absent", "load-1")
    assert not (tmp_path / "home" / "warehouse" / "absent.duckdb").exists()


@pytest.mark.parametrize("name", ["../up", "a/b", "", "A", "a;b", "a" * 200])
def test_a_dataset_is_never_a_path(tmp_path: Path, name: str) -> None:
    warehouse = DuckdbWarehouse(tmp_path / "home", folders=lambda _: ())
    with pytest.raises(Exception, match="not a name of a dataset"):
        warehouse.ensure_table(name, load_schema("x_meta_loads"))


def test_a_home_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    warehouse = DuckdbWarehouse(tmp_path / "home", folders=lambda _: ())
    for act in (warehouse.check, lambda: warehouse.ensure_dataset("acme")):
        with pytest.raises(WarehouseError) as caught:
            act()
        assert caught.value.code == "warehouse_not_writable"


KILLED = """
import os, signal
from convergence.warehouse.files.instance import alone
with alone(()) as (_, scratch):
    print(scratch, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_folders_of_processes_that_were_killed_are_cleared_and_those_in_use_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    child = subprocess.run(
        [sys.executable, "-c", KILLED],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    left = Path(child.stdout.strip())
    assert left.is_dir()
    with instance.alone(()) as (_, in_use):
        instance._clear_left.cache_clear()
        with instance.alone(()):
            assert [left.exists(), in_use.exists()] == [False, True]
    assert not in_use.exists()


def test_a_file_that_cannot_be_opened_has_no_hash(tmp_path: Path) -> None:
    assert digest(str(tmp_path / "absent.csv"), CancelToken()) == ""
    assert digest(str(tmp_path), CancelToken()) == ""
