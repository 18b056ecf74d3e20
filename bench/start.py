"""How long commands take to start, beside an empty Python.

An installed program has its bytecode; so has this one, in a folder of its own.

python bench/start.py [repeats]
"""

import os
import subprocess
import sys
import tempfile
import time
from statistics import median

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "cdp --help": ["-m", "convergence", "--help"],
    "cdp runs --help": ["-m", "convergence", "runs", "--help"],
    "cdp runs ls": ["-m", "convergence", "runs", "ls"],
}


def main(repeats: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        bytecode = {"PYTHONPYCACHEPREFIX": f"{home}/bytecode", "PYTHONDONTWRITEBYTECODE": ""}
        environment = {**os.environ, **bytecode, "CDP_HOME": f"{home}/home"}
        seconds = {name: timed(words, environment, repeats) for name, words in COMMANDS.items()}
    empty = seconds["python -c pass"]
    for name, took in seconds.items():
        print(f"{name:18} {took * 1e3:6.0f} ms   {took / empty:5.1f} x an empty Python")


def timed(words: list[str], environment: dict[str, str], repeats: int) -> float:
    """The median of some runs, in seconds; the first one, which fills caches, does not count."""
    took = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, *words], env=environment, check=True, capture_output=True)  # noqa: S603 - our own command
        took.append(time.perf_counter() - started)
    return median(took[1:])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
