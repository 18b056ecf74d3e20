"""Chooses a Python for `./cdp` and becomes environment.py. Python 3.6 and newer can read this."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Tuple

NAMES = (sys.executable, "python3.13", "python3.12", "python3.11", "python3", "python")
PROBE = "import sqlite3, sys; print(*sys.version_info[:3], *sqlite3.sqlite_version_info[:3])"
OLDEST, TOO_NEW = (3, 11), (3, 14)
NEEDED = "Python 3.11, 3.12 or 3.13 is needed, and only %s was found on PATH\n"
OLD_SQLITE = "Python %d.%d.%d has SQLite %d.%d.%d, too old for a SQLite store: 3.42 is needed\n"


def probe(python: str) -> Tuple[int, ...]:
    """The version of a Python and of its SQLite, six numbers; empty when it does not run."""
    try:
        output = subprocess.check_output([python, "-c", PROBE], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(int(number) for number in output.split())


def fitness(numbers: Tuple[int, ...]) -> int:
    """0 unfit; 1 fit without SQLite, as DBOS needs SQLite 3.42 from Python 3.12 on; 2 fit."""
    if not OLDEST <= numbers < TOO_NEW:
        return 0
    return 2 if numbers < (3, 12) or numbers[3:] >= (3, 42) else 1


def choose() -> str:
    """The best Python on PATH. Raises SystemExit when none will do."""
    found = [(name, numbers) for name, numbers in ((n, probe(n)) for n in NAMES) if numbers]
    python, numbers = max(found, key=lambda one: fitness(one[1]))
    versions = ", ".join(sorted({"%d.%d.%d" % numbers[:3] for _, numbers in found}))
    if fitness(numbers) == 0:
        sys.stderr.write("cdp: " + NEEDED % versions)
        sys.exit(2)
    if fitness(numbers) == 1:
        sys.stderr.write("cdp: " + OLD_SQLITE % numbers)
    return python


def main() -> None:
    here = Path(__file__).resolve().parent
    venv = Path(os.environ.get("CDP_VENV") or here.parent / ".venv").absolute()
    python = sys.executable
    if Path(python).parent != venv / "bin" or not OLDEST <= sys.version_info < TOO_NEW:
        python = choose()
    os.execvp(python, [python, str(here / "environment.py"), *sys.argv[1:]])


if __name__ == "__main__":
    main()
