"""The commands of README and quickstart do what the pages say: each is executed, in order."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cdp, cdp, home, serve

__all__ = ["cdp", "home"]

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
FAILS = re.compile(r"# exit code (\d)")
PROVEN_ELSEWHERE = ("./cdp demo", "./cdp test")
"""By test_whole_demo.py, and by this very run."""


def commands(page: str) -> Iterator[str]:
    """Each command of a page, with its comment."""
    for block in BLOCK.findall((ROOT / page).read_text()):
        for command in block.replace("\\\n", " ").splitlines():
            if command.strip() and not command.startswith(PROVEN_ELSEWHERE):
                yield command


def run(cdp: Cdp, command: str) -> int:
    """The exit code: in this process for `./cdp`, with a shell for the rest."""
    if command.startswith("./cdp "):
        return cdp(*shlex.split(command, comments=True)[1:]).code
    return subprocess.run(["bash", "-euo", "pipefail", "-c", command], check=False).returncode


@pytest.fixture
def here(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose state is in `.cdp`, as in a checkout."""
    monkeypatch.setenv("CDP_HOME", str(tmp_path / ".cdp"))
    return tmp_path


def test_own_export_of_the_readme(cdp: Cdp, here: Path) -> None:
    assert cdp("sample", "generate", "data", "--until", "2024-11-01", "--days", "2").code == 0
    told = list(commands("README.md"))
    assert len(told) == 4
    for command in told:
        assert run(cdp, command.replace("/data/export", f"{here}/data/usd")) == 0, command
    top = cdp("costs", "top", "--tenant", "mycorp", "-o", "json").json
    assert top[0]["service_description"] == "Compute Engine"


def test_quickstart(cdp: Cdp, here: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("THE QUICKSTART IS NOT TESTED: there is no curl")
    server = None
    try:
        for command in commands("docs/guides/quickstart.md"):
            if command == "./cdp serve":
                server = serve(here / ".cdp")
                continue
            if server is not None:
                command = command.replace("localhost:8080", server.url.removeprefix("http://"))  # noqa: PLW2901 - the same command, elsewhere
            expected = FAILS.search(command)
            assert run(cdp, command) == (int(expected[1]) if expected else 0), command
        shown = cdp("runs", "ls", "--tenant", "mycorp", "-o", "json").json
        assert next(run["run_date"] for run in shown) == "2025-12-29"
    finally:
        if server is not None:
            server.stop()
    assert (here / "bills/configs/gcp/cost/cost_billing.yml").exists()
