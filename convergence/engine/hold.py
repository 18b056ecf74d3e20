"""One run at a time writes a day, and none while a table is written anew: leases in the store."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from time import sleep
from uuid import uuid4

from convergence.engine.renew import renewed
from convergence.engine.service import Service
from convergence.errors import Conflict, Unavailable
from convergence.model.cancel import CancelToken
from convergence.model.load import Load, LoadKey
from convergence.model.run import Run
from convergence.outside.logs import Log
from convergence.steps.base import StepLog
from convergence.store import loads, moves

PAUSE_SECONDS = 0.2
EVERY_SOURCE = "*"
"""In a lease: of all sources of a day."""

EVERY_DAY = date.min
"""In a lease: of all days of a table."""
REWRITE_SECONDS, RENEW_SECONDS = 120.0, 20.0
"""So long a table is held that is written anew, and so often it is again while that goes on."""
RECORDS = "x_meta_loads"
"""Every load writes to it, too."""

log = Log(__name__)


def copies_others(service: Service) -> bool:
    """Whether the warehouse replaces a day of all sources, to replace it of one."""
    return service.config.is_warehouse_shared


@dataclass(frozen=True, kw_only=True)
class Leases:
    """Those of one attempt of a run, for `seconds` each."""

    service: Service
    run: Run
    seconds: float
    cancel: CancelToken
    tell: StepLog

    @contextmanager
    def hold(self, *keys: LoadKey) -> Iterator[None]:
        """While inside, no other run loads these days; of no source, where a load copies them."""
        with ExitStack() as held:
            for key in keys:
                self._take(key, held)
                if copies_others(self.service):
                    self._take(replace(key, source=EVERY_SOURCE), held)
            yield

    @contextmanager
    def hold_free(self, *keys: LoadKey) -> Iterator[frozenset[LoadKey]]:
        """While inside, no other run loads those of the days that none loads just now; these."""
        with ExitStack() as held:
            free = set[LoadKey]()
            for key in keys:
                if not self._in_the_way(key):
                    held.callback(self._release, key)
                    free.add(key)
            yield frozenset(free)

    def _take(self, key: LoadKey, held: ExitStack) -> None:
        """Wait until no other run loads the day, then hold it."""
        told = ""
        while why := self._in_the_way(key):
            if why != told:
                self.tell(f"{why}, waiting for its end")
                told = why
            sleep(PAUSE_SECONDS)
        held.callback(self._release, key)

    def _in_the_way(self, key: LoadKey) -> str:
        """Who holds the day; "" when it is held now. First taken, then looked, as who writes the
        table anew does: one of both sees the other.
        """
        self.cancel.check()
        if not self._acquire(key):
            return f"another run loads {key.table} of {key.day}"
        if not copies_others(self.service) or not _is_written_anew(
            self.service, self.run.tenant_id, key.table
        ):
            return ""
        self._release(key)
        return f"{key.table} is written anew (cdp db migrate)"

    def _acquire(self, key: LoadKey) -> bool:
        with self.service.database.write() as tx:
            return loads.acquire(
                tx,
                self.run.tenant_id,
                key,
                run_id=self.run.run_id,
                attempt=self.run.attempt,
                now=self.service.clock.now(),
                seconds=self.seconds,
            )

    def _release(self, key: LoadKey) -> None:
        """Let others load the day. When the store is away, the end of the run does it."""
        try:
            with self.service.database.write() as tx:
                loads.release(tx, self.run.tenant_id, key, run_id=self.run.run_id)
        except Unavailable as error:
            log.warning("lease not released", run_id=self.run.run_id, error=error.detail)


def settle(service: Service, dataset: str, load: Load) -> bool:
    """Close a load that was left STAGED; whether it took effect."""
    took_effect = service.warehouse.is_published(dataset, load.load_id)
    with service.database.write() as tx:
        if took_effect:
            loads.publish(tx, load.tenant_id, load.load_id, now=service.clock.now())
        else:
            loads.discard(tx, load.tenant_id, load.load_id)
    return took_effect


@contextmanager
def hold_table(service: Service, dataset: str, tenant_id: str, table: str) -> Iterator[None]:
    """While inside, no run begins a load of the table, and none that was cut off may still take
    effect. Raises Conflict where one is under way, or somebody else holds it; and at the end where
    it was not held all the time: then all days are to be loaded again.
    """
    hold = _TableHold(service=service, tenant_id=tenant_id, table=table)
    if not hold.take():
        raise Conflict(
            f"{table} of {tenant_id} is written anew by another",
            code="tenant_busy",
            hint="run it again when that cdp db migrate has ended; one that was killed lets go "
            f"within {REWRITE_SECONDS:.0f} seconds",
        )
    try:
        with renewed(f"hold of {table}", hold.take, seconds=RENEW_SECONDS):
            hold.check_unloaded(dataset)
            yield
    finally:
        hold.release()


@dataclass(kw_only=True)
class _TableHold:
    """A lease on all days of a table, until `ends_at`; `has_lapsed` once it was not held between
    two renewals, as when the store was away or the process stood still.
    """

    service: Service
    tenant_id: str
    table: str
    holder: str = field(default_factory=lambda: f"db migrate {uuid4()}")
    ends_at: datetime | None = None
    has_lapsed: bool = False

    def take(self) -> bool:
        """For the first time, or again; False while somebody else has it."""
        now = self.service.clock.now()
        with self.service.database.write() as tx:
            is_taken = loads.acquire(
                tx,
                self.tenant_id,
                self._key,
                run_id=self.holder,
                attempt=0,
                now=now,
                seconds=REWRITE_SECONDS,
            )
        self._look()
        if is_taken:
            self.ends_at = now + timedelta(seconds=REWRITE_SECONDS)
        elif self.ends_at is not None:
            self.has_lapsed = True
        return is_taken

    def _look(self) -> None:
        if self.ends_at is not None and self.service.clock.now() >= self.ends_at:
            self.has_lapsed = True

    def check_unloaded(self, dataset: str) -> None:
        """Settle what was left open. Raises Conflict while a run loads the table."""
        now, table = self.service.clock.now(), self.table
        with self.service.database.read() as tx:
            held = loads.held_days(tx, self.tenant_id, "" if table == RECORDS else table, now=now)
            left = loads.left_open(tx, self.tenant_id)
        if held - {EVERY_DAY}:
            raise Conflict(
                f"a run loads {table} of {self.tenant_id}",
                code="tenant_busy",
                hint="run it again when that has ended; cdp runs ls",
            )
        for load in left:
            settle(self.service, dataset, load)

    def release(self) -> None:
        """Raises Conflict where a load may have published what was then written over."""
        self._look()
        with self.service.database.write() as tx:
            loads.release(tx, self.tenant_id, self._key, run_id=self.holder)
            if self.has_lapsed:
                moves.look_anew(tx, self.tenant_id)
        if self.has_lapsed:
            raise Conflict(
                f"{self.table} of {self.tenant_id} was not held all the time that it was written "
                "anew: days that were loaded meanwhile may be lost",
                code="hold_lapsed",
                hint="the next cost_sync loads all days again",
            )

    @property
    def _key(self) -> LoadKey:
        return LoadKey(table=self.table, day=EVERY_DAY, source=EVERY_SOURCE)


def _is_written_anew(service: Service, tenant_id: str, table: str) -> bool:
    now = service.clock.now()
    with service.database.read() as tx:
        return any(
            EVERY_DAY in loads.held_days(tx, tenant_id, name, now=now) for name in (table, RECORDS)
        )
