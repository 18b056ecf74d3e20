"""The whole demo as a program in a fresh clone: from nothing, again, and then with its server."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from convergence.outside.home import Home

ROOT = Path(__file__).parents[2]
DEMO = (sys.executable, "-m", "convergence", "demo")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone") / "project"
    command = ["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", str(folder)]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def shown(clone: Path) -> subprocess.CompletedProcess[str]:
    return demo(clone, "--no-serve")


def environment(clone: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(clone.parent), "PYTHONPATH": str(clone)}


def demo(clone: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *options],
        cwd=clone,
        env=environment(clone),
        capture_output=True,
        text=True,
        check=False,
    )


def test_demo_shows_three_months_and_leaves_nothing(
    clone: Path, shown: subprocess.CompletedProcess[str]
) -> None:
    assert shown.returncode == 0, shown.stderr
    assert "runs of gcp/cost/cost_billing: 184 of 184" in shown.stderr
    assert "each day's totals are those known beforehand, to the last digit" in shown.stderr
    assert "one run failed, on purpose: globex" in shown.stderr
    left = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert left.stdout == ""


def test_second_demo_loads_nothing(clone: Path, shown: subprocess.CompletedProcess[str]) -> None:
    again = demo(clone, "--no-serve")
    assert "nothing is missing" in again.stderr
    assert again.stdout == shown.stdout


@pytest.mark.usefixtures("shown")
def test_dashboard_answers_until_ctrl_c(clone: Path) -> None:
    with (clone.parent / "said").open("w") as said:
        process = subprocess.Popen(
            [*DEMO, "--port", "0"], cwd=clone, env=environment(clone), stderr=said
        )
    try:
        for _ in range(600):
            holder = Home(clone / ".cdp").holder()
            if holder is not None and holder.url:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("the demo's server does not listen")
        with urlopen(f"{holder.url}/health/live", timeout=30) as answer:  # noqa: S310 - ours
            assert answer.status == 200
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    assert f"dashboard: {holder.url}/sign-in?link=" in (clone.parent / "said").read_text()
