"""Durable work, the only file that knows DBOS: runs wait in a queue, a crash replays the walk.

Our `pipeline_runs` is the truth; the engine's tables are a detail that `recover.py` reconciles.
Asynchronous, because timeouts and cancellation need async steps: each act runs in a thread.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dbos import DBOS, DBOSClient, run_dbos_database_migrations
from dbos._serialization import DBOSPortableJSONSerializer

from convergence.engine.execute import Executor
from convergence.model.run import Status
from convergence.store.database import Database, WriteTx

# Raised only when the order of the durable acts below changes.
ENGINE_VERSION = "engine-1"
QUEUE = "runs"
WORKFLOW = "run"
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the engine has a run: its own status word, and the worker it gave it to."""

    status: str
    worker: str | None


class DurableQueue:
    """The queue, as every process may use it: enqueue, look, put back. Executes nothing."""

    def __init__(self, database: Database, url: str) -> None:
        logging.getLogger("dbos").setLevel(logging.WARNING)
        run_dbos_database_migrations(url)
        self._client = DBOSClient(
            system_database_url=url,
            system_database_engine=database.engine,
            serializer=DBOSPortableJSONSerializer(),
            lazy=True,
        )

    def enqueue(self, tx: WriteTx, tenant_id: str, run_id: str) -> None:
        self._client.enqueue_in_transaction(
            tx.connection,
            {
                "workflow_name": WORKFLOW,
                "queue_name": QUEUE,
                "workflow_id": run_id,
                "app_version": ENGINE_VERSION,
            },
            tenant_id,
            run_id,
        )

    def places(self, run_ids: Sequence[str]) -> dict[str, Place]:
        """Where the engine has these runs; a run it does not know is absent."""
        found = self._client.list_workflows(
            workflow_ids=list(run_ids), load_input=False, load_output=False
        )
        return {
            flow.workflow_id: Place(status=flow.status, worker=flow.executor_id) for flow in found
        }

    def put_back(self, run_id: str) -> None:
        """Let a live worker begin the run again; its finished steps are in our own records."""
        self._client.cancel_workflow(run_id)
        self._client.rewind_workflow(run_id, application_version=ENGINE_VERSION, queue_name=QUEUE)


class Worker:
    """Executes queued runs in this process, `concurrency` at a time."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._concurrency = executor.service.config.worker_concurrency

    def start(self) -> None:
        DBOS(
            config={
                "name": "cdp",
                "system_database_url": self._executor.service.config.database_url,
                "system_database_engine": self._executor.service.database.engine,
                "run_migrations": False,
                "application_version": ENGINE_VERSION,
                "executor_id": self._executor.worker,
                "serializer": DBOSPortableJSONSerializer(),
                "max_executor_threads": self._concurrency,
                "log_level": "WARNING",
            }
        )
        _register(self._executor)
        DBOS.launch()
        DBOS.register_queue(
            QUEUE, worker_concurrency=self._concurrency, polling_interval_sec=POLL_SECONDS
        )

    def stop(self, *, seconds: int) -> None:
        """Wait so long for the runs under way, then let go of them: another start goes on."""
        DBOS.destroy(workflow_completion_timeout_sec=seconds, destroy_registry=True)


def _register(executor: Executor) -> None:
    """The durable acts of a run, in the order that ENGINE_VERSION stands for."""

    @DBOS.step(name="begin")
    async def begin(tenant_id: str, run_id: str) -> dict[str, Any] | None:
        claim = await asyncio.to_thread(executor.begin, tenant_id, run_id)
        if claim is None:
            return None
        return {"attempt": claim.attempt, "outcomes": dict(claim.outcomes)}

    @DBOS.step(name="step")
    async def step(
        tenant_id: str, run_id: str, step_id: str, attempt: int, outcomes: Mapping[str, str]
    ) -> str:
        return await asyncio.to_thread(
            executor.run_step,
            tenant_id,
            run_id,
            step_id,
            attempt=attempt,
            so_far=_statuses(outcomes),
        )

    @DBOS.step(name="finish")
    async def finish(
        tenant_id: str, run_id: str, attempt: int, outcomes: Mapping[str, str]
    ) -> None:
        await asyncio.to_thread(
            executor.finish, tenant_id, run_id, attempt=attempt, outcomes=_statuses(outcomes)
        )

    @DBOS.workflow(name=WORKFLOW)
    async def run(tenant_id: str, run_id: str) -> None:
        claim = await begin(tenant_id, run_id)
        if claim is None:
            return
        attempt, outcomes = claim["attempt"], _statuses(claim["outcomes"])
        steps = await asyncio.to_thread(executor.steps, tenant_id, run_id)
        while batch := executor.next_steps(steps, outcomes):
            ids = [ready.step_id for ready in batch]
            acts = (step(tenant_id, run_id, step_id, attempt, dict(outcomes)) for step_id in ids)
            outcomes |= _statuses(dict(zip(ids, await asyncio.gather(*acts), strict=True)))
        await finish(tenant_id, run_id, attempt, outcomes)


def _statuses(words: Mapping[str, str]) -> dict[str, Status]:
    """What a replay reads from the engine's records: plain words."""
    return {step_id: Status(word) for step_id, word in words.items()}
