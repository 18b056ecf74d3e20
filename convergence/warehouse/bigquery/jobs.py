"""Jobs: begun once whatever the network does, waited for, broken off, paid for and told of."""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import count
from threading import Event
from typing import Any, NamedTuple, TypeVar, cast
from uuid import uuid4

from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery.job import QueryJob, QueryJobConfig

from convergence.errors import Cancelled, Unavailable, WarehouseError
from convergence.model.cancel import CancelToken
from convergence.warehouse import errand
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.faults import (
    CALL_SECONDS,
    PASSING,
    RETRY,
    over_limit,
    said,
    told,
)

TRIES = 5
"""So often a job that broke for a passing reason is begun, each time under another id."""
BACKOFF_SECONDS = 1.0
"""After the first of them; twice as long after each other."""
TIMEOUT = "query_timeout"
VOID = "SELECT 'void'"
"""The job that uses up an id, so that nothing is done under it any more."""
LONGEST_SECONDS = 6 * 3600.0
"""BigQuery ends every job by then."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0

_Job = TypeVar("_Job", bound=Any)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a dry run says of a statement: the bytes it would read, and the columns it gives."""

    bytes: int
    fields: tuple[bigquery.SchemaField, ...]


class ByteLimit(NamedTuple):
    """What one statement may be billed for, who says so, and how it is raised."""

    bytes: int
    whose: str
    hint: str


ByteLimits = Callable[[str], Iterable[ByteLimit]]
"""The limits of a dataset, beside those of an errand."""


class Jobs:
    """No job may be billed for more than `limits` say of its dataset, or its errand."""

    def __init__(self, clients: Clients, *, limits: ByteLimits, job_seconds: float) -> None:
        self._clients = clients
        self._limits = limits
        self._job_seconds = job_seconds

    def estimate(self, dataset: str, sql: str) -> Estimate:
        """Check a statement without running it. Raises Invalid, NotFound, WarehouseError."""
        config = QueryJobConfig(dry_run=True, use_query_cache=False)
        with told():
            job = self._clients.of(dataset).query(
                sql, config, retry=RETRY, timeout=CALL_SECONDS, job_retry=None
            )
            fields = tuple(job.schema or ())
        return Estimate(bytes=int(job.total_bytes_processed or 0), fields=fields)

    def check_bytes(self, dataset: str, estimate: Estimate) -> None:
        """Raise Invalid when a statement would read more than it may."""
        limit = self._limit(dataset)
        if limit is not None and estimate.bytes > limit.bytes:
            said = f"{estimate.bytes:,} bytes, and {limit.whose} allows {limit.bytes:,}"
            raise over_limit(said, limit.hint)

    def query(  # noqa: PLR0913 - what and how, all by name
        self,
        dataset: str,
        sql: str,
        *,
        config: Mapping[str, Any] | None = None,
        job_id: str = "",
        cancel: CancelToken | None = None,
        seconds: float | None = None,
        is_bounded: bool = True,
    ) -> QueryJob:
        """Run a statement to its end. With `job_id` it runs once: a job of that id that was begun
        before is waited for, unless it does something else: then the id was used up (`use_up`).
        Limits of bytes are not for what follows from rows that were read within them:
        `is_bounded` False.

        Raises Invalid, NotFound, WarehouseError, Unavailable, Cancelled.
        """
        client = self._clients.of(dataset)

        def begin(name: str) -> QueryJob:
            return client.query(
                sql,
                self._config(dataset, config or {}, seconds, is_bounded=is_bounded),
                job_id=name,
                retry=RETRY,
                timeout=CALL_SECONDS,
                job_retry=None,
            )

        job = self.run(client, begin, job_id=job_id, cancel=cancel, seconds=seconds)
        if job.query != sql:
            raise Unavailable(
                f"the job {job.job_id} was given up before BigQuery had begun it",
                code="job_given_up",
                hint="it is done anew where a template says so",
            )
        return job

    def run(
        self,
        client: bigquery.Client,
        begin: Callable[[str], _Job],
        *,
        job_id: str = "",
        cancel: CancelToken | None = None,
        seconds: float | None = None,
    ) -> _Job:
        """Begin a job, and again when it breaks for a passing reason; the job, done.

        Of a given id, jobs that broke for such a reason before are passed over.
        """
        stem = job_id or f"cdp_{uuid4().hex}"
        seconds = seconds or self._job_seconds
        tries = 0
        for number in count(1):
            with told():
                job, is_new = _begun(client, begin, attempt_id(stem, number))
                wait(client, job, cancel, seconds)
            errand.done(_billed(job))
            problem = job.error_result or {}
            if not problem:
                return job
            reason = problem.get("reason", "")
            if reason == "stopped" and (cancel is None or cancel.reason is None):
                raise WarehouseError(f"the job {job.job_id} was cancelled in BigQuery")
            if reason in {"stopped", "timeout"}:
                raise _ended(cancel, seconds)
            tries += is_new
            if reason not in PASSING or tries == TRIES:
                raise said(reason, problem.get("message", ""))
            if is_new:
                _pause(tries, cancel)
        raise AssertionError("a loop that ends by itself")

    def use_up(self, dataset: str, job_id: str) -> QueryJob | None:
        """The job of an id that ended well, waited for; None when there is none, and then there
        never will be: the ids under which it could still be begun are used up.
        """
        client = self._clients.of(dataset)

        def begin(name: str) -> QueryJob:
            config = QueryJobConfig(labels=label_texts({"dataset": dataset}))
            return client.query(
                VOID, config, job_id=name, retry=RETRY, timeout=CALL_SECONDS, job_retry=None
            )

        for number in count(1):
            name = attempt_id(job_id, number)
            with told():
                job = _found(client, name) or _begun(client, begin, name)[0]
                wait(client, job)
            if not job.error_result:
                return None if job.query == VOID else job
        raise AssertionError("a loop that ends by itself")

    def done(self, dataset: str, job_id: str) -> QueryJob | None:
        """The job of an id that has ended well by now. None is begun, none waited for."""
        client = self._clients.of(dataset)
        for number in count(1):
            with told():
                job = _found(client, attempt_id(job_id, number))
            if job is None or job.state != "DONE":
                return None
            if not job.error_result:
                return None if job.query == VOID else job
        raise AssertionError("a loop that ends by itself")

    def _limit(self, dataset: str) -> ByteLimit | None:
        """The smallest."""
        found = list(self._limits(dataset))
        if (most := errand.current().max_bytes) is not None:
            found.append(ByteLimit(most, "the step", "raise maximum_bytes_billed of the step"))
        return min(found, key=lambda limit: limit.bytes, default=None)

    def _config(
        self, dataset: str, more: Mapping[str, Any], seconds: float | None, *, is_bounded: bool
    ) -> QueryJobConfig:
        config = QueryJobConfig(**{"use_query_cache": False, **more})
        if is_bounded and (limit := self._limit(dataset)) is not None:
            config.maximum_bytes_billed = limit.bytes
        config.labels = labels_of(dataset)
        config.job_timeout_ms = int((seconds or self._job_seconds) * 1000)
        return config


def attempt_id(stem: str, number: int) -> str:
    """The id under which a job is begun for the nth time."""
    return stem if number == 1 else f"{stem}_{number}"


def labels_of(dataset: str) -> dict[str, str]:
    """What a job says of whom it is done for."""
    return label_texts({"dataset": dataset, **errand.current().labels})


def label_texts(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels as BigQuery takes them: small letters, digits, _ and -, 63 at most."""
    return {
        name: "".join(c if c.isalnum() or c in "_-" else "_" for c in value.lower())[:63]
        for name, value in labels.items()
        if value
    }


def _begun(client: bigquery.Client, begin: Callable[[str], _Job], name: str) -> tuple[_Job, bool]:
    """The job, and whether it was begun now; else it was before, or its answer was lost."""
    try:
        return begin(name), True
    except exceptions.Conflict:
        return cast("_Job", client.get_job(name, retry=RETRY, timeout=CALL_SECONDS)), False


def _found(client: bigquery.Client, name: str) -> QueryJob | None:
    """Not all emulators refuse an id that is there."""
    with suppress(exceptions.NotFound):
        return cast("QueryJob", client.get_job(name, retry=RETRY, timeout=CALL_SECONDS))
    return None


def _pause(tries: int, cancel: CancelToken | None) -> None:
    """Longer each time, and not with all others at one moment. Raises Cancelled."""
    woken = Event()
    with cancel.breaking(woken.set) if cancel is not None else nullcontext():
        woken.wait(BACKOFF_SECONDS * 2 ** (tries - 1) * random.uniform(0.5, 1))  # noqa: S311 - no secret
    if cancel is not None:
        cancel.check()


def wait(
    client: bigquery.Client,
    job: Any,  # noqa: ANN401 - a job of whatever kind
    cancel: CancelToken | None = None,
    seconds: float = LONGEST_SECONDS,
) -> None:
    """Until the job is done; a trip of the token, or the end of the time, breaks it off."""
    woken, pause, end = Event(), FIRST_PAUSE, time.monotonic() + seconds
    with cancel.breaking(woken.set) if cancel is not None else nullcontext():
        while job.state != "DONE":
            is_broken_off = woken.wait(pause)
            if is_broken_off or time.monotonic() > end:
                client.cancel_job(job.job_id, retry=RETRY, timeout=CALL_SECONDS)
                raise _ended(cancel, seconds)
            pause = min(pause * 1.5, LONGEST_PAUSE)
            job.reload(retry=RETRY, timeout=CALL_SECONDS)


def _ended(cancel: CancelToken | None, seconds: float) -> Cancelled:
    if cancel is not None and cancel.reason is not None:
        return cancel.reason
    return Cancelled(
        f"the statement took longer than {seconds:g} s",
        code=TIMEOUT,
        hint="ask for fewer rows or days; a load: CDP_BIGQUERY_JOB_SECONDS",
    )


def _billed(job: Any) -> errand.Job:  # noqa: ANN401 - as above
    return errand.Job(
        job_id=job.job_id,
        bytes_billed=int(getattr(job, "total_bytes_billed", 0) or 0),
        slot_ms=int(getattr(job, "slot_millis", 0) or 0),
    )
