"""Procrastinate on PostgreSQL: a task that keeps a row of its own for each of two steps."""

import asyncio
import os
import sys
import time

from figures import WORKERS, idle, rate, starts, tell
from procrastinate import App, PsycopgConnector

POLL_SECONDS = 0.1

URL, RUNS = sys.argv[1].replace("postgresql+psycopg", "postgresql"), int(sys.argv[3])
app = App(connector=PsycopgConnector(conninfo=URL))
began: dict[int, float] = {}


@app.task(name="noop")
async def noop(number: int) -> None:
    began[number] = time.time()
    for step in ("first", "second"):
        await app.connector.execute_query_async(
            "INSERT INTO steps VALUES (%(number)s, %(step)s)", number=number, step=step
        )


def main() -> None:
    with asyncio.Runner() as runner:
        runner.run(prepare())
        triggers = rate(RUNS, lambda: runner.run(put(range(RUNS))))
        passed = rate(RUNS, lambda: runner.run(work(wait=False)))
        runner.run(single(triggers=triggers, runs=passed))


async def prepare() -> None:
    await app.open_async()
    await app.schema_manager.apply_schema_async()
    await app.connector.execute_query_async("CREATE TABLE steps (n BIGINT, step TEXT)")


async def put(numbers: range) -> None:
    gate = asyncio.Semaphore(WORKERS)

    async def one(number: int) -> None:
        async with gate:
            await noop.defer_async(number=number)

    await asyncio.gather(*map(one, numbers))


async def work(*, wait: bool) -> None:
    await app.run_worker_async(
        concurrency=WORKERS,
        wait=wait,
        fetch_job_polling_interval=POLL_SECONDS,
        install_signal_handlers=False,
    )


async def single(**figures: float) -> None:
    working = asyncio.create_task(work(wait=True))
    loop = asyncio.get_running_loop()

    def one(number: int) -> float:
        asyncio.run_coroutine_threadsafe(
            put(range(RUNS + number, RUNS + number + 1)), loop
        ).result()
        while RUNS + number not in began:
            time.sleep(0.001)
        return began[RUNS + number]

    figures |= await asyncio.to_thread(starts, one)
    figures |= await asyncio.to_thread(idle, [os.getpid()])
    tell(**figures)
    working.cancel()


main()
