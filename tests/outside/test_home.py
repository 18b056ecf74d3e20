"""The home: made for its owner, and held by one process at a time."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from convergence.errors import Conflict, Unavailable
from convergence.outside.clock import Clock
from convergence.outside.home import Home

HOLD = (
    "import sys, pathlib; from convergence.outside.home import Home;"
    "lock = Home(pathlib.Path(sys.argv[1])).lock(); lock.announce('http://127.0.0.1:1');"
    "print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def home(tmp_path: Path, clock: Clock) -> Home:
    home = Home(tmp_path / "deep" / "home", clock=clock)
    home.ensure()
    return home


def test_folders_are_for_their_owner_alone(home: Home) -> None:
    for folder in (home.path, home.ensure("logs")):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_nothing_is_made_before_it_is_asked_for(tmp_path: Path) -> None:
    assert Home(tmp_path / "home").holder() is None
    assert list(tmp_path.iterdir()) == []


def test_the_holder_is_told_while_it_holds(home: Home) -> None:
    assert home.holder() is None
    with home.lock() as lock:
        holder = home.holder()
        assert holder is not None
        assert (holder.pid, holder.url) == (os.getpid(), "")
        assert holder.started_at == "2024-11-01T12:00:00+00:00"
        lock.announce("http://127.0.0.1:8080")
        told = home.holder()
        assert told is not None
        assert told.url == "http://127.0.0.1:8080"
    assert home.holder() is None


def test_a_busy_home_names_who_has_it_and_what_to_do(home: Home) -> None:
    with home.lock() as lock:
        lock.announce("http://127.0.0.1:8080")
        with pytest.raises(Conflict, match=f"process {os.getpid()}") as refused:
            home.lock()
    assert refused.value.code == "home_busy"
    assert "at http://127.0.0.1:8080" in refused.value.detail
    assert "http://127.0.0.1:8080" in refused.value.detail
    assert refused.value.hint.startswith("stop it")


def test_who_waits_gets_the_home_when_it_is_free(home: Home) -> None:
    first = home.lock()
    timer = threading.Timer(0.2, first.release)
    timer.start()
    home.lock(wait_seconds=20).release()
    timer.join()


def test_a_killed_holder_leaves_the_home_free(home: Home) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        holder = home.holder()
        assert holder is not None
        assert (holder.pid, holder.url) == (process.pid, "http://127.0.0.1:1")
        process.kill()
    assert home.holder() is None
    home.lock().release()


def test_of_many_threads_one_gets_the_home(home: Home) -> None:
    held, refused, start = [], [], threading.Barrier(8)

    def take() -> None:
        start.wait()
        try:
            held.append(home.lock())
        except Conflict as conflict:
            refused.append(conflict)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 7)
    held[0].release()


def test_looking_at_the_holder_never_takes_the_home_away(home: Home) -> None:
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            home.holder()

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        home.lock(wait_seconds=5).release()
    stop.set()
    for thread in threads:
        thread.join()


def test_a_damaged_lock_file_is_no_obstacle(home: Home) -> None:
    (home.path / "lock").write_bytes(b"\xff{" * 2000)
    assert home.holder() is None
    with home.lock():
        holder = home.holder()
        assert holder is not None
        assert holder.pid == os.getpid()


def test_releasing_twice_harms_nobody(home: Home) -> None:
    lock = home.lock()
    lock.release()
    second = home.lock()
    lock.release()
    assert home.holder() is not None
    second.release()


def test_a_home_that_cannot_be_made_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot use") as refused:
        Home(tmp_path / "file").ensure()
    assert refused.value.code == "home_unusable"
    assert "CDP_HOME" in refused.value.hint
    with pytest.raises(Unavailable):
        Home(tmp_path / "file" / "below").ensure()
