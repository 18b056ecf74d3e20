"""The command in this process or as a program of its own, on a fresh home, with an export."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from convergence.cli.app import main
from convergence.outside.home import Home
from tests.conftest import HEADER, export_line

ROOT = Path(__file__).parents[2]
TEMPLATE = "gcp/cost/cost_billing"
EXPORT = "local.billing.export"
DAY = "2025-03-01"
EMAIL = "finops@acme.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.out)


Cdp = Callable[..., Ended]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is not there yet; nothing of this machine's environment is seen."""
    for name in [name for name in os.environ if name.startswith("CDP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CDP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def cdp(home: Path, capsys: pytest.CaptureFixture[str]) -> Cdp:
    """Run a command in this process."""

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return Ended(code=code, out=said.out, err=said.err)

    return run


@pytest.fixture(scope="session")
def with_acme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a tenant, to be copied: onboarding takes longer than most commands."""
    home = tmp_path_factory.mktemp("prepared") / "home"
    assert main(["tenants", "onboard", "acme", "--email", EMAIL, "--home", str(home)]) == 0
    return home


@pytest.fixture
def acme(cdp: Cdp, home: Path, with_acme: Path, export: Path) -> Cdp:
    """The same, with a tenant that may read an export of two days."""
    shutil.copytree(with_acme, home)
    add_source(cdp, export)
    return cdp


def onboard(cdp: Cdp, export: Path, tenant: str = "acme") -> None:
    """A tenant, and the export of that name for it."""
    onboarded = cdp("tenants", "onboard", tenant, "--email", EMAIL)
    assert onboarded.code == 0, onboarded.err
    add_source(cdp, export, tenant)


def add_source(cdp: Cdp, export: Path, tenant: str = "acme") -> None:
    table = EXPORT.replace("export", f"export_of_{tenant}") if tenant != "acme" else EXPORT
    added = cdp("sources", "add", table, "--files", str(export / "*.csv"), "--tenant", tenant)
    assert added.code == 0, added.err


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return write_export(tmp_path / "export")


def write_export(folder: Path) -> Path:
    folder.mkdir()
    lines = [
        export_line(DAY, "10.10", "-1.05", "202503"),
        export_line(DAY, "0.000000001", "", "202503"),
        export_line("2025-03-02", "7", "", "202503"),
    ]
    (folder / "a.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return folder


def program(*arguments: str, **environment: str) -> Ended:
    """Run a command as a program of its own."""
    return python("-m", "convergence", *arguments, **environment)


def python(*arguments: str, **environment: str) -> Ended:
    ended = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return Ended(code=ended.returncode, out=ended.stdout, err=ended.stderr)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running `cdp serve`."""

    url: str
    home: Path
    process: subprocess.Popen[str]

    def stop(self) -> Ended:
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=30)
        return Ended(code=self.process.returncode, out=out, err=err)


def serve(home: Path, *options: str) -> Server:
    """Start a server on a free port and wait until it answers for its home."""
    command = [sys.executable, "-m", "convergence", "serve", "--port", "0", "--home", str(home)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CDP_")}
    environment["PYTHONPATH"] = str(ROOT)
    process = subprocess.Popen(
        [*command, *options],
        env=environment,
        cwd=home.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        holder = Home(home).holder()
        if holder is not None and holder.url:
            return Server(url=holder.url, home=home, process=process)
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate()[1])


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests, since a start takes seconds: each has a tenant of its own."""
    server = serve(tmp_path_factory.mktemp("server") / "home")
    yield server
    server.stop()


@pytest.fixture
def server(started: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Commands are given on its home."""
    monkeypatch.setenv("CDP_HOME", str(started.home))
    return started
