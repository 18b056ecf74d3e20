"""Durable work, the only file that knows DBOS: runs wait in a queue, and workers walk them.

Our `pipeline_runs` is the truth; the engine's tables are a detail that `recover.py` reconciles.
A run is one durable workflow without durable steps: what its steps have done is in our own
records, from which another attempt goes on. It has a thread from its claim to its end.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer

from convergence.engine.execute import Executor
from convergence.errors import Conflict
from convergence.model.run import Run
from convergence.steps.base import StepType, needs_warehouse
from convergence.store import deployment, fleet
from convergence.store.database import Database, WriteTx

# Raised only when a worker of the old version could not execute the new one's runs, or the reverse.
ENGINE_VERSION = "engine-1"
QUEUE = "runs"
LOADS = "loads"
"""Where runs wait that only the process with the tenants' files can execute."""
WORKFLOW = "run"
POLL_SECONDS = 0.2
"""From one look into the queue to the next: a run that comes begins within 0.3 seconds, and each
look takes some of a core, all day long.
"""
BUSY_POLL_SECONDS = 0.1
"""The same while runs wait: a look takes no more of them than the worker has room for."""
BATCH = 500
UNUSED_SECONDS = 0.5
"""From one look to the next for what never comes; so long a stop may wait for it."""
OWN_THREADS = 2
"""Of the engine's threads, those that it needs itself."""
GRACE_SECONDS = 5
"""From the moment work is broken off to the moment the process lets go of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the engine has a run: its own status word, the worker it gave it to, and the version
    of the walk that it waits for.
    """

    status: str
    worker: str | None
    version: str | None = ENGINE_VERSION


class DurableQueue:
    """The queue, as every process may use it: enqueue, look, put back. Executes nothing."""

    def __init__(self, database: Database, url: str, step_types: Mapping[str, StepType]) -> None:
        """Raises Conflict when the store's rows are another major version's of the engine."""
        _check_engine(database)
        self._step_types = step_types
        logging.getLogger("dbos").setLevel(logging.WARNING)
        self._database = database
        with database.translated():
            DBOS.migrate(url)
        self._client = DBOSClient(
            system_database_url=url,
            system_database_engine=database.engine,
            serializer=DBOSPortableJSONSerializer(),
            lazy=True,
        )

    def enqueue(self, tx: WriteTx, run: Run) -> None:
        self._client.enqueue_in_transaction(
            tx.connection,
            {
                "workflow_name": WORKFLOW,
                "queue_name": self._queue_of(run),
                "workflow_id": run.run_id,
                "app_version": ENGINE_VERSION,
            },
            run.tenant_id,
            run.run_id,
        )

    def places(self, run_ids: Sequence[str]) -> dict[str, Place]:
        """Where the engine has these runs; a run it does not know is absent."""
        places = {}
        for start in range(0, len(run_ids), BATCH):
            with self._database.translated():
                found = self._client.list_workflows(
                    workflow_ids=list(run_ids[start : start + BATCH]),
                    load_input=False,
                    load_output=False,
                )
            for flow in found:
                places[flow.workflow_id] = Place(
                    status=flow.status, worker=flow.executor_id, version=flow.app_version
                )
        return places

    def withdraw(self, run_id: str) -> None:
        """Take a run that is over out of the queue: no worker is given it any more."""
        with self._database.translated():
            self._client.cancel_workflow(run_id)

    def put_back(self, run: Run) -> None:
        """Let a live worker begin the run again; its finished steps are in our own records."""
        with self._database.translated():
            self._client.cancel_workflow(run.run_id)
            self._client.rewind_workflow(
                run.run_id, application_version=ENGINE_VERSION, queue_name=self._queue_of(run)
            )

    def ended(self, before: datetime, *, limit: int) -> list[str]:
        with self._database.translated():
            found = self._client.list_workflows(
                completed_before=before.isoformat(),
                limit=limit,
                load_input=False,
                load_output=False,
            )
        return [flow.workflow_id for flow in found]

    def forget(self, run_ids: Sequence[str]) -> None:
        if run_ids:
            with self._database.translated():
                self._client.delete_workflows(list(run_ids))

    def _queue_of(self, run: Run) -> str:
        """With one process, which has the files, one queue is enough."""
        if self._database.is_sqlite or not needs_warehouse(run.snapshot, self._step_types):
            return QUEUE
        return LOADS


class Worker:
    """Executes queued runs in this process, `worker_concurrency` of each queue at a time."""

    def __init__(self, executor: Executor, *, has_files: bool) -> None:
        self._executor = executor
        self._database = executor.service.database
        self._queues = (QUEUE, LOADS) if has_files and not self._database.is_sqlite else (QUEUE,)
        self._concurrency = executor.service.config.worker_concurrency
        self._seconds = POLL_SECONDS

    @property
    def name(self) -> str:
        return self._executor.worker

    def start(self) -> None:
        DBOS(
            config={
                "name": "cdp",
                "system_database_url": self._executor.service.config.database_url,
                "system_database_engine": self._database.engine,
                "run_migrations": False,
                "application_version": ENGINE_VERSION,
                "executor_id": self._executor.worker,
                "serializer": DBOSPortableJSONSerializer(),
                "max_executor_threads": self._concurrency * len(self._queues) + OWN_THREADS,
                "log_level": "WARNING",
                # Nothing here notifies.
                "use_listen_notify": False,
                "notification_listener_polling_interval_sec": UNUSED_SECONDS,
            }
        )
        _register(self._executor)
        DBOS.listen_queues(self._queues)
        DBOS.launch()
        for queue in self._queues:
            DBOS.register_queue(
                queue, worker_concurrency=self._concurrency, polling_interval_sec=self._seconds
            )

    def pace(self) -> None:
        """Look into the queue more often while runs wait. All workers have one pace: it is kept
        with the queue, and each sees the same runs.
        """
        with self._database.read() as tx:
            seconds = BUSY_POLL_SECONDS if fleet.is_any_waiting(tx) else POLL_SECONDS
        if seconds == self._seconds:
            return
        with self._database.translated():
            for name in self._queues:
                queue = DBOS.retrieve_queue(name)
                if queue is not None:
                    queue.set_polling_interval_sec(seconds)
        self._seconds = seconds

    def stop(self, *, seconds: int) -> None:
        """Wait so long for the runs under way, then break them off: another start goes on. Those
        that wait for their next try are left to it at once.
        """
        self._executor.leaving.set()
        # Those under way are waited for by whole seconds; where there are none, not at all.
        patience = seconds + GRACE_SECONDS if self._executor.tokens else 0
        timer = threading.Timer(seconds, self._executor.break_off)
        timer.daemon = True
        timer.start()
        try:
            DBOS.destroy(workflow_completion_timeout_sec=patience, destroy_registry=True)
        finally:
            # A timer that went on would hold the process for as long; what the queue gave out at
            # the last moment began after it was looked whether there are any.
            timer.cancel()
            self._executor.break_off()


def _check_engine(database: Database) -> None:
    own = version("dbos").partition(".")[0]
    agreed = deployment.agree(database, deployment.ENGINE, own)
    if agreed != own:
        raise Conflict(
            f"This store's queue was made by DBOS {agreed}, and this process has DBOS {own}",
            code="engine_differs",
            hint="use the same version of cdp on all machines: stop all, then start the new ones",
        )


def _register(executor: Executor) -> None:
    @DBOS.workflow(name=WORKFLOW)
    def run(tenant_id: str, run_id: str) -> None:
        executor.walk(tenant_id, run_id)
