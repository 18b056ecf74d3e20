"""Celery on Redis: a chain of two tasks, results kept in Redis."""

import os
import subprocess
import sys
import time
from pathlib import Path

from celery import Celery, chain
from figures import WORKERS, idle, rate, starts, tell

SOCKET = os.environ.get("PEER_URL") or sys.argv[1]
"""The worker is started by celery's own command, which has other arguments."""
app = Celery("peer_celery", broker=SOCKET, backend=SOCKET)
app.conf.worker_hijack_root_logger = False


@app.task(name="step")
def step(began: float) -> float:
    """The moment the first step began."""
    return began or time.time()


def main(runs: int) -> None:
    asked = []

    def put() -> None:
        asked.extend(chain(step.s(0.0), step.s()).apply_async() for _ in range(runs))

    triggers = rate(runs, put)
    command = [sys.executable, "-m", "celery", "-A", "peer_celery", "worker", "-c", str(WORKERS)]
    folder = __file__.rpartition("/")[0]
    worker = subprocess.Popen(  # noqa: S603 - our own words
        [*command, "-l", "ERROR"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": folder, "PEER_URL": SOCKET, "C_FORCE_ROOT": "1"},
    )
    chain(step.s(0.0), step.s()).apply_async().get(timeout=60)  # it is up
    asked.clear()
    passed = rate(runs, lambda: [put(), *(each.get(timeout=120) for each in asked)])
    pids = [worker.pid, *children(worker.pid)]

    def one(_number: int) -> float:
        return float(chain(step.s(0.0), step.s()).apply_async().get(timeout=60))

    tell(triggers=triggers, runs=passed, **starts(one), **idle(pids))
    worker.terminate()
    worker.wait()


def children(parent: int) -> list[int]:
    files = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(word) for file in files for word in file.read_text().split()]


if __name__ == "__main__":
    main(int(sys.argv[3]))
