"""Many runs, some at a time: asked for as slots become free, followed to their ends, and told of.

For `cdp backfill` and `cdp runs retry`. What one run meets holds up no other.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any

from convergence.cli.output import say
from convergence.errors import CdpError, Conflict, NotFound, QuotaExceeded, Unavailable
from convergence.model.run import Status

if TYPE_CHECKING:
    from convergence.client import Client

Json = dict[str, Any]
POLL_SECONDS = 0.3
PATIENT_SECONDS = 30
"""How long a server that has answered before is waited for."""
BAR_CELLS = 24
REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run to ask for. `facts` say what it is, in the row that tells of it."""

    name: str
    facts: Json
    start: Callable[[], Json]


@dataclass(kw_only=True)
class Batch:
    """`rows` tell how each job ended, `left` were not asked for because of `stop`.

    Where the jobs are of several tenants, the quota of one stops no other: `refusal` is its error.
    """

    client: "Client"
    parallel: int
    stops_at_quota: bool = True
    refusal: QuotaExceeded | None = None
    rows: list[Json] = field(default_factory=list)
    left: list[Job] = field(default_factory=list)
    stop: CdpError | KeyboardInterrupt | None = None

    def __post_init__(self) -> None:
        self._leaving = Event()
        self._live: dict[Future[Json], tuple[Job, str]] = {}
        self._is_waiting_told = False

    @property
    def bad(self) -> list[Json]:
        return [row for row in self.rows if row["status"] != Status.COMPLETED]

    def run(self, jobs: Iterable[Job]) -> None:
        """Until all have ended, or a limit of the day or month, an error or Ctrl-C stops it."""
        waiting = deque(jobs)
        bar = Bar(len(waiting))
        with ThreadPoolExecutor(self.parallel) as pool:
            try:
                while waiting or self._live:
                    if waiting and len(self._live) < self.parallel and self.stop is None:
                        self._start(waiting, pool)
                    bar.show(self.rows, len(self._live))
                    if self.stop is not None and not self._live:
                        break
                    self._collect(bar)
            except KeyboardInterrupt as interrupt:
                self._leave(interrupt)
        bar.end()
        self.left = list(waiting)

    def _start(self, waiting: deque[Job], pool: ThreadPoolExecutor) -> None:
        """Ask for the next, unless there is no slot for it yet."""
        job = waiting[0]
        try:
            run_id = job.start()["pipeline_logging_id"]
        except CdpError as error:
            if self._may_wait(error):
                return
            if not self._is_of_one(error):
                self.stop = error
                return
            waiting.popleft()
            refusal = {"status": REFUSED, "error": error.detail, "hint": error.hint}
            self.rows.append({**job.facts, **refusal})
        else:
            waiting.popleft()
            self._live[pool.submit(self._until_its_end, run_id)] = (job, run_id)

    def _may_wait(self, error: CdpError) -> bool:
        """Whether it passes by itself: a slot becomes free, or the rate of requests allows more."""
        if isinstance(error, QuotaExceeded):
            is_passing = error.kind == "concurrent" and error.limit > 0
            is_passing = is_passing and bool(self._live or not self.client.is_alone())
        else:
            is_passing = error.code == "rate_limited"
        if is_passing and not self._live and not self._is_waiting_told:
            self._is_waiting_told = True
            say(f"waiting for a free slot: {error.detail}")
        return is_passing

    def _is_of_one(self, error: CdpError) -> bool:
        """Whether the other jobs may fare better."""
        if isinstance(error, QuotaExceeded) and not self.stops_at_quota:
            self.refusal = error
            return True
        return isinstance(error, Conflict | NotFound)

    def _collect(self, bar: "Bar") -> None:
        """Note what has ended, after a moment."""
        if not self._live:
            time.sleep(POLL_SECONDS)
        for ended in wait(self._live, POLL_SECONDS, FIRST_COMPLETED).done:
            job, run_id = self._live.pop(ended)
            row = {**job.facts, "pipeline_logging_id": run_id}
            try:
                run = ended.result()
            except CdpError as error:
                row |= {"status": None, "error": error.detail}
                self.stop = self.stop or error
            else:
                row |= {name: run[name] for name in ("status", "duration_ms", "error")}
            self.rows.append(row)
            bar.tell(f"{job.name} is {row['status'] or 'lost from sight'}", len(self.rows))

    def _leave(self, interrupt: KeyboardInterrupt) -> None:
        """What a server executes goes on there; what this process executes is cancelled."""
        self._leaving.set()
        self.stop = interrupt
        for future, (job, run_id) in self._live.items():
            row = {**job.facts, "pipeline_logging_id": run_id}
            try:
                if self.client.is_alone():
                    self.client.cancel(run_id)
                wait([future])
                self.rows.append(row | {"status": self.client.run(run_id)["status"]})
            except CdpError as error:
                self.rows.append(row | {"status": None, "error": error.detail})

    def _until_its_end(self, run_id: str) -> Json:
        """The run when it is over, or as it is when it is left. A server may start anew."""
        if self.client.is_alone():
            return self.client.follow(run_id, _tell_nobody)
        heard = time.monotonic()
        while True:
            try:
                run = self.client.run(run_id)
                heard = time.monotonic()
                if run["end_time"] is not None or self._leaving.is_set():
                    return run
            except Unavailable:
                if time.monotonic() - heard > PATIENT_SECONDS or self._leaving.is_set():
                    raise
            self._leaving.wait(POLL_SECONDS)


def _tell_nobody(_: Json) -> None:
    """Many runs at once are told by their ends alone."""


class Bar:
    """Progress on stderr: a bar on a terminal, else a line for each end."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._is_live = sys.stderr.isatty()

    def show(self, rows: list[Json], running: int) -> None:
        if not self._is_live:
            return
        done = len(rows)
        cells = BAR_CELLS * done // max(self._total, 1)
        bad = sum(row["status"] != Status.COMPLETED for row in rows)
        failed = f", {bad} not completed" if bad else ""
        text = f"[{'#' * cells:.<{BAR_CELLS}}] {done}/{self._total}, {running} running{failed}"
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

    def tell(self, text: str, done: int) -> None:
        if not self._is_live:
            say(f"{text} ({done}/{self._total})")

    def end(self) -> None:
        if self._is_live:
            sys.stderr.write("\n")
