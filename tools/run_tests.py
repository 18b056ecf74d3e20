"""`./cdp test [--fast|--slow|--browser] [pytest arguments]`: every check, the tests last."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
WORKERS = "4"
"""More than cores: many tests wait for a program that they started."""
CHECKS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
    "imports": ["lint-imports"],
    "dependencies": ["deptry", "convergence"],
}
TIERS = {
    "--fast": ["-m", "not slow and not postgres and not kills and not browser and not whole"],
    "--ordinary": ["-m", "not slow"],
    "--slow": [],
    "--browser": ["-m", "browser"],
}
USAGE = """usage: ./cdp test [--fast|--slow|--browser] [pytest arguments]

Format, lint, types, imports and dependencies, then the tests:
  --fast     the rules, the store and the SQL alone: no service, PostgreSQL, browser or program
  --slow     the long forms as well
  --browser  the browser's alone; without Chromium they fail, elsewhere they are skipped
Everything else goes to pytest: ./cdp test --fast tests/model -k money"""


def passes(name: str, command: list[str]) -> bool:
    """Run one check, saying its name and time; what it printed only when it fails."""
    start = time.monotonic()
    print(f"{name:<13}", end="", flush=True)
    ended = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    is_good = ended.returncode == 0
    result = "ok" if is_good else "FAILED"
    print(f"{result:<7}{time.monotonic() - start:5.1f} s", flush=True)
    if not is_good:
        print(ended.stdout, flush=True)
    return is_good


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    tier = next((argument for argument in arguments if argument in TIERS), "--ordinary")
    rest = [argument for argument in arguments if argument not in TIERS]
    failed = [name for name, command in CHECKS.items() if not passes(name, command)]
    start = time.monotonic()
    print(f"{'tests':<13}{tier.removeprefix('--')}", flush=True)
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        WORKERS,
        "--dist",
        "loadgroup",
        *TIERS[tier],
        *rest,
    ]
    environment = os.environ | ({"CDP_TEST_BROWSER": "required"} if tier == "--browser" else {})
    if subprocess.run(pytest, cwd=ROOT, env=environment, check=False).returncode != 0:
        failed.append("tests")
    if failed:
        print(f"FAILED after {time.monotonic() - start:.0f} s of tests: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
