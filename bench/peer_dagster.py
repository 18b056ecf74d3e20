"""Dagster in one process, its instance in a temporary folder: a job of two ops."""

import os
import sys

from dagster import DagsterInstance, job, op
from figures import idle, rate, tell


@op
def first() -> int:
    return 1


@op
def second(number: int) -> int:
    return number


@job
def noop() -> None:
    second(first())


def main(runs: int) -> None:
    with DagsterInstance.local_temp() as instance:
        noop.execute_in_process(instance=instance)
        passed = rate(
            runs, lambda: [noop.execute_in_process(instance=instance) for _ in range(runs)]
        )
        tell(runs=passed, **idle([os.getpid()]))


main(int(sys.argv[3]))
