"""The same two-step no-op in this engine and in others, one after the other on one machine.

    python bench/engines.py [runs] [names…]

For each: triggers per second into an idle queue, runs per second out of a full one, the time from a
trigger to the start of its first step, and what a worker takes when it has nothing to do. Each of
the others has an environment of its own in a temporary folder, made here with pip from PyPI; Redis
is Debian's, unpacked there and not installed. The order of the lines tells more than the figures.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.postgres_server import PostgresServer  # noqa: E402 - found by the line above

PACKAGES = {
    "procrastinate": ["procrastinate==3.10.0", "psycopg[binary,pool]"],
    "celery": ["celery[redis]==5.7.0"],
    "dagster": ["dagster==1.13.29"],
}
REDIS = [
    "redis-tools",
    "liblua5.1-0",
    "libjemalloc2",
    "liblzf1",
    "libhiredis0.14",
    "lua-bitop",
    "lua-cjson",
]
COLUMNS = {
    "triggers": "triggers/s",
    "runs": "runs/s",
    "p50": "start p50 ms",
    "p99": "start p99 ms",
    "cpu": "idle CPU %",
    "rss": "RSS MB",
}


def main(runs: int, names: list[str]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="cdp-bench-"))
    print(f"{runs} runs each; {'engine':>16}", *(f"{name:>13}" for name in COLUMNS.values()))
    for name in names:
        seen = json.loads(ENGINES[name](folder / name, runs).splitlines()[-1])
        cells = [f"{seen[key]:13.1f}" if key in seen else f"{'-':>13}" for key in COLUMNS]
        print(f"{name:>31}", *cells, flush=True)


def on_sqlite(folder: Path, runs: int) -> str:
    folder.mkdir()
    return measured(sys.executable, "cdp", f"sqlite:///{folder}/control.db", folder, runs)


def on_postgres(folder: Path, runs: int) -> str:
    folder.mkdir()
    with postgres() as url:
        return measured(sys.executable, "cdp", url, folder, runs)


def procrastinate(folder: Path, runs: int) -> str:
    with postgres() as url:
        return measured(environment(folder), "procrastinate", url, folder, runs)


def celery(folder: Path, runs: int) -> str:
    python = environment(folder)
    with redis(folder) as url:
        return measured(python, "celery", url, folder, runs)


def dagster(folder: Path, runs: int) -> str:
    return measured(environment(folder), "dagster", "none", folder, min(runs, 100))


def measured(python: str, peer: str, url: str, folder: Path, runs: int) -> str:
    """What the peer's program printed, its last line the figures as JSON."""
    command = [python, str(Path(__file__).parent / f"peer_{peer}.py"), url, str(folder), str(runs)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)  # noqa: S603 - our own programs
    if ended.returncode:
        raise SystemExit(f"{peer}: {ended.stderr[-3000:]}")
    return ended.stdout


def environment(folder: Path) -> str:
    """The Python of a new environment with the packages of the engine."""
    run(sys.executable, "-m", "venv", str(folder))
    python = folder / "bin" / "python"
    run(str(python), "-m", "pip", "install", "--quiet", *PACKAGES[folder.name])
    return str(python)


@contextmanager
def postgres() -> Iterator[str]:
    server = PostgresServer()
    try:
        yield server.url("postgres")
    finally:
        server.stop()
        server.remove()


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    subprocess.run(["apt-get", "download", *REDIS], cwd=folder, check=True, capture_output=True)  # noqa: S603, S607 - Debian's own client
    for package in folder.glob("*.deb"):
        run("dpkg", "-x", str(package), str(folder / "debian"))
    program = folder / "debian/usr/bin/redis-check-rdb"
    server = folder / "redis-server"  # the program acts by the name it is called by
    server.symlink_to(program)
    libraries = ":".join({str(path.parent) for path in folder.glob("debian/**/*.so*")})
    options = ["--port", "0", "--unixsocket", str(folder / "redis.sock"), "--save", ""]
    started = subprocess.Popen(  # noqa: S603 - as above
        [str(server), *options],
        env={"LD_LIBRARY_PATH": libraries},
        stdout=subprocess.DEVNULL,
        cwd=folder,
    )
    try:
        while not (folder / "redis.sock").exists():
            time.sleep(0.1)
        yield f"redis+socket://{folder}/redis.sock"
    finally:
        started.terminate()
        started.wait()


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own words


ENGINES: dict[str, Callable[[Path, int], str]] = {
    "cdp on SQLite": on_sqlite,
    "cdp on PostgreSQL": on_postgres,
    "procrastinate": procrastinate,
    "celery": celery,
    "dagster": dagster,
}

if __name__ == "__main__":
    wanted = sys.argv[2:] or list(ENGINES)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, wanted)
