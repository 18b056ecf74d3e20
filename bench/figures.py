"""What every peer measures alike. Standard library alone: each has an environment of its own."""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import quantiles

IDLE_SECONDS = 10
SINGLES = 100
WORKERS = 4


def rate(count: int, act: Callable[[], object]) -> float:
    """Per second."""
    begun = time.perf_counter()
    act()
    return count / (time.perf_counter() - begun)


def starts(trigger: Callable[[int], float]) -> dict[str, float]:
    """Single runs into an idle engine. `trigger` gives the moment its first step began."""
    milliseconds = []
    for number in range(SINGLES):
        asked = time.time()
        milliseconds.append((trigger(number) - asked) * 1000)
    cuts = quantiles(milliseconds, n=100)
    return {"p50": cuts[49], "p99": cuts[98]}


def idle(processes: Sequence[int]) -> dict[str, float]:
    """Share of one core that the processes take while nothing is to do, and their memory."""
    before = sum(_ticks(process) for process in processes)
    time.sleep(IDLE_SECONDS)
    ticks = sum(_ticks(process) for process in processes) - before
    seconds = ticks / os.sysconf("SC_CLK_TCK")
    kilobytes = sum(_resident(process) for process in processes)
    return {"cpu": 100 * seconds / IDLE_SECONDS, "rss": kilobytes / 1024}


def busy(process: int) -> float:
    """Seconds of the processor that a process took, with all that it started."""
    fields = _stat(process)
    ticks = sum(map(int, fields[11:15]))
    children = Path(f"/proc/{process}/task").glob("*/children")
    started = [int(child) for each in children for child in each.read_text().split()]
    return ticks / os.sysconf("SC_CLK_TCK") + sum(map(busy, started))


def parent(process: int) -> int:
    return int(_stat(process)[1])


def tell(**figures: float) -> None:
    print(json.dumps(figures), flush=True)


def _ticks(process: int) -> int:
    fields = _stat(process)
    return int(fields[11]) + int(fields[12])


def _stat(process: int) -> list[str]:
    """What the system tells of a process, from its state on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _resident(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
