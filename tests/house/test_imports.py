"""Imports point down: the contracts of pyproject.toml."""

import subprocess
import sys
from pathlib import Path

from tests.house.conftest import ROOT

LINTER = Path(sys.executable).with_name("lint-imports")


def test_import_contracts_hold() -> None:
    ended = subprocess.run(
        [str(LINTER), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout
