import socket
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from convergence.cli.days import today
from convergence.cli.demo import place
from convergence.outside.home import Home
from tests.cli.conftest import Cdp, onboard, write_export

NO_SERVER = ("demo", "--no-serve")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two days in place of ninety-two."""
    monkeypatch.setattr(place, "DAYS", 2)


@pytest.mark.usefixtures("short")
def test_demo_goes_from_nothing_to_costs(cdp: Cdp, home: Path) -> None:
    ended = cdp(*NO_SERVER)
    assert ended.code == 0, ended.err
    assert "acme1281, USD" in ended.out
    assert "globex, EUR" in ended.out
    assert ended.out.count("\nall ") == 2
    assert "runs of gcp/cost/cost_billing: 4 of 4" in ended.err
    assert "each day's totals are those known beforehand, to the last digit" in ended.err
    assert stat.S_IMODE((home / "keys/acme1281").stat().st_mode) == 0o600
    assert cdp("quota", "show", "globex", "--json").json["limits"]["daily_limit"] == 1000


@pytest.mark.usefixtures("short")
def test_second_demo_loads_nothing_and_shows_the_same(cdp: Cdp) -> None:
    first = cdp(*NO_SERVER)
    second = cdp(*NO_SERVER)
    assert second.code == 0
    assert "nothing is missing" in second.err
    assert second.out == first.out
    assert len(cdp("runs", "ls", "--json").json) == 4


@pytest.mark.usefixtures("short")
def test_demo_of_a_later_day_adds_the_days_between(
    cdp: Cdp, monkeypatch: pytest.MonkeyPatch
) -> None:
    cdp(*NO_SERVER)
    later = today() + timedelta(days=2)
    monkeypatch.setattr(place, "today", lambda: later)
    ended = cdp(*NO_SERVER, "-o", "json")
    assert ended.code == 0
    assert "sample: 4 days" in ended.err
    loaded = {run["run_date"] for run in cdp("runs", "ls", "--json").json}
    assert (later - timedelta(days=1)).isoformat() in loaded


@pytest.mark.usefixtures("short")
def test_reset_begins_anew(cdp: Cdp, home: Path) -> None:
    cdp(*NO_SERVER)
    key = (home / "keys/acme1281").read_text()
    (home / "mine.txt").write_text("kept")
    ended = cdp(*NO_SERVER, "--reset")
    assert ended.code == 0
    assert "runs of gcp/cost/cost_billing: 4 of 4" in ended.err
    assert (home / "keys/acme1281").read_text() != key
    assert (home / "mine.txt").read_text() == "kept"


@pytest.mark.parametrize("options", [(), ("--reset",)])
def test_home_with_real_tenants_is_left_alone(
    cdp: Cdp, home: Path, export: Path, options: tuple[str, ...]
) -> None:
    onboard(cdp, export, "acme")
    refused = cdp(*NO_SERVER, *options)
    assert refused.code == 1
    assert "has the tenants acme, which no demo made" in refused.err
    assert "try: give the demo a folder of its own" in refused.err
    assert not (home / "sample").exists()
    assert cdp("tenants", "ls", "--json").json[0]["tenant_id"] == "acme"


@pytest.mark.usefixtures("short")
def test_reset_spares_a_tenant_that_came_later(cdp: Cdp, tmp_path: Path) -> None:
    cdp(*NO_SERVER)
    onboard(cdp, write_export(tmp_path / "own"), "mycorp")
    refused = cdp(*NO_SERVER, "--reset")
    assert refused.code == 1
    assert "has the tenants mycorp, which no demo made" in refused.err
    assert "mycorp" in cdp("tenants", "ls", "--json").out


@pytest.mark.usefixtures("short")
def test_demo_goes_on_beside_a_tenant_that_came_later(cdp: Cdp, tmp_path: Path) -> None:
    cdp(*NO_SERVER)
    onboard(cdp, write_export(tmp_path / "own"), "mycorp")
    assert cdp(*NO_SERVER).code == 0


def test_folder_with_other_files_is_no_home_for_a_demo(cdp: Cdp, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("years of work")
    refused = cdp(*NO_SERVER, "--reset", "--home", str(tmp_path / "thesis"))
    assert refused.code == 1
    assert "holds other files: chapter.txt" in refused.err
    assert [file.name for file in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


def test_running_server_is_pointed_to(cdp: Cdp, home: Path) -> None:
    Home(home).ensure()
    with Home(home).lock() as lock:
        lock.announce("http://127.0.0.1:4321")
        refused = cdp(*NO_SERVER)
    assert refused.code == 1
    assert "try: open http://127.0.0.1:4321, or stop it" in refused.err


def test_own_server_is_named_before_its_port(cdp: Cdp, home: Path) -> None:
    Home(home).ensure()
    with Home(home).lock() as lock, socket.create_server(("127.0.0.1", 0)) as own:
        lock.announce(f"http://127.0.0.1:{own.getsockname()[1]}")
        refused = cdp("demo", "--port", str(own.getsockname()[1]))
    assert "a server works in" in refused.err


def test_port_in_use_is_said_before_anything_is_made(cdp: Cdp, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        refused = cdp("demo", "--port", str(other.getsockname()[1]))
    assert refused.code == 1
    assert "try: stop it, or choose another port: --port N (or CDP_PORT)" in refused.err
    assert not home.exists()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CDP_SERVER", "http://127.0.0.1:1", "try: leave --server out"),
        ("CDP_DATABASE_URL", "postgresql+psycopg://u@h/d", "try: env -u CDP_DATABASE_URL cdp demo"),
    ],
)
def test_demo_stays_on_this_machine_and_in_its_home(
    cdp: Cdp, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    refused = cdp(*NO_SERVER)
    assert refused.code == 2
    assert said in refused.err


@pytest.mark.usefixtures("short")
def test_unreadable_mark_is_answered_with_reset(cdp: Cdp, home: Path) -> None:
    cdp(*NO_SERVER)
    (home / place.MARK).write_text("{")
    assert "try: cdp demo --reset" in cdp(*NO_SERVER).err
    assert cdp(*NO_SERVER, "--reset").code == 0


@pytest.mark.usefixtures("short")
def test_costs_of_a_demo_are_data_too(cdp: Cdp) -> None:
    ended = cdp(*NO_SERVER, "-o", "json")
    assert {row["currency"] for row in ended.json} == {"USD", "EUR"}
