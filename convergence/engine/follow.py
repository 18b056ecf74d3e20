"""Follow what happens in runs, from a place on: one poll of the store serves all who look on.

Asynchronous, so that an onlooker who waits holds no thread. Nobody misses or sees anything twice:
a run's events have no holes, and who cannot keep up reads on from the store. For the doors.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from threading import Lock

from convergence.engine.service import Service
from convergence.errors import Unavailable
from convergence.model.event import Event
from convergence.store import events, fleet, runs

POLL_SECONDS = 0.5
BATCH = 500
MOST_ONLOOKERS = 1000
"""Of one tenant, in one process."""
MOST_WAITING = 1000
"""Events kept for an onlooker who is busy."""
MOST_MISSED = 5000
"""Events of all runs that are looked through for an onlooker who comes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """What happened since the last time. Who goes on from `position` misses nothing.

    `is_whole` False: it was too much to tell; look at everything anew.
    """

    events: Sequence[Event]
    position: int
    is_whole: bool = True


class Onlooker:
    """Keeps what one subscriber has still to take, of one run or of a tenant's runs."""

    def __init__(self, *, tenant_id: str | None, run_id: str | None) -> None:
        self.tenant_id = tenant_id
        self._run_id = run_id
        self._loop = asyncio.get_running_loop()
        self._has_news = asyncio.Event()
        self._lock = Lock()
        self._news = Happened(events=(), position=0)

    def offer(self, found: Sequence[Event], position: int) -> None:
        """Called by the thread that polls."""
        mine = [event for event in found if self._wants(event)]
        if not mine:
            return
        with self._lock:
            waiting = [*self._news.events, *mine]
            is_whole = self._news.is_whole and len(waiting) <= MOST_WAITING
            self._news = Happened(
                events=waiting if is_whole else (), position=position, is_whole=is_whole
            )
        self.wake()

    def wake(self) -> None:
        self._loop.call_soon_threadsafe(self._has_news.set)

    async def take(self) -> Happened:
        """What came since the last time, as soon as there is something."""
        await self._has_news.wait()
        self._has_news.clear()
        with self._lock:
            news, self._news = self._news, replace(self._news, events=(), is_whole=True)
        return news

    def _wants(self, event: Event) -> bool:
        return self._run_id in (None, event.run_id) and self.tenant_id in (None, event.tenant_id)


@dataclass(kw_only=True)
class Feed:
    """The onlookers of this process. Somebody calls `poll` every POLL_SECONDS.

    `_seen` has the last sequence given of the runs whose events may be read once more.
    """

    service: Service
    has_ended: bool = False
    _lock: Lock = field(default_factory=Lock)
    _onlookers: set[Onlooker] = field(default_factory=set)
    _position: int | None = None
    _seen: Mapping[str, int] = field(default_factory=dict)

    def poll(self) -> None:
        """Read what is new and give it to whom it concerns; nothing when nobody looks on."""
        with self._lock:
            if not self._onlookers:
                self._position, self._seen = None, {}
            position = self._position
        if position is None:
            return
        seen_again: dict[str, int] = {}
        for found, read_on in _since(self.service, position):
            new = [event for event in found if event.sequence > self._seen.get(event.run_id, 0)]
            # Those who look on now: who joins later finds in the store what was read by now.
            with self._lock:
                onlookers = list(self._onlookers)
            for onlooker in onlookers:
                onlooker.offer(new, read_on)
            again = [event for event in found if event.position >= read_on]
            seen_again |= {event.run_id: event.sequence for event in again}
            position = read_on
        with self._lock:
            self._position, self._seen = position, seen_again

    @property
    def size(self) -> int:
        """How many look on."""
        return len(self._onlookers)

    def check_room(self, tenant_id: str) -> None:
        """Raises Unavailable when too many look on at one tenant's runs."""
        with self._lock:
            count = sum(onlooker.tenant_id == tenant_id for onlooker in self._onlookers)
        if count >= MOST_ONLOOKERS:
            raise Unavailable(
                f"{count} streams of {tenant_id} are open already",
                code="too_many_streams",
                hint="close some of them, or ask again later",
            )

    def end(self) -> None:
        """Let all onlookers go: the process stops."""
        self.has_ended = True
        with self._lock:
            for onlooker in self._onlookers:
                onlooker.wake()

    @asynccontextmanager
    async def onlooker(
        self, *, tenant_id: str | None, run_id: str | None = None
    ) -> AsyncIterator[Onlooker]:
        """While inside, what happens from now on is kept for it."""
        joined = Onlooker(tenant_id=tenant_id, run_id=run_id)
        with self._lock:
            self._onlookers.add(joined)
        try:
            await asyncio.to_thread(self._begin)
            yield joined
        finally:
            with self._lock:
                self._onlookers.discard(joined)

    def _begin(self) -> None:
        """The first onlooker sets the place that the next poll reads on from."""
        if self._position is not None:
            return
        # Not under the lock, which the event loop takes too.
        with self.service.database.read() as tx:
            position = fleet.event_position(tx)
        with self._lock:
            if self._position is None:
                self._position = position


async def run_events(
    feed: Feed, tenant_id: str, run_id: str, *, after: int = 0
) -> AsyncGenerator[Sequence[Event], None]:
    """A run's events above the sequence `after`, in order, until it is over or the feed ends."""
    async with feed.onlooker(tenant_id=tenant_id, run_id=run_id) as onlooker:
        while not feed.has_ended:
            stored = await asyncio.to_thread(_stored, feed.service, tenant_id, run_id, after)
            if stored:
                yield stored
                after = stored[-1].sequence
            elif stored is None:
                return
            else:
                async for found in _live(feed, onlooker, after):
                    yield found
                    after = found[-1].sequence


async def tenant_events(
    feed: Feed, tenant_id: str | None, *, position: int | None = None
) -> AsyncGenerator[Happened, None]:
    """What happens in the runs of a tenant, or of all, until the feed ends.

    The first answer comes at once: what has happened since `position`, None being this moment.
    """
    async with feed.onlooker(tenant_id=tenant_id) as onlooker:
        first = await asyncio.to_thread(_missed, feed.service, tenant_id, position)
        yield first
        known = {event.run_id: event.sequence for event in first.events}
        while not feed.has_ended:
            news = await onlooker.take()
            found = [event for event in news.events if event.sequence > known.get(event.run_id, 0)]
            if found or not news.is_whole:
                yield replace(news, events=found)


async def _live(
    feed: Feed, onlooker: Onlooker, after: int
) -> AsyncGenerator[Sequence[Event], None]:
    """What follows on `after` without a hole; ends where the store has to be asked."""
    while not feed.has_ended:
        news = await onlooker.take()
        above = [event for event in news.events if event.sequence > after]
        found = sorted(above, key=lambda event: event.sequence)
        if not news.is_whole or (found and found[-1].sequence != after + len(found)):
            return
        if found:
            yield found
            after = found[-1].sequence
            if found[-1].ends_run:
                return


def _stored(service: Service, tenant_id: str, run_id: str, after: int) -> list[Event] | None:
    """The next part of a run's events; None when there is none any more. Raises NotFound."""
    with service.database.read() as tx:
        found = events.page(tx, tenant_id, run_id, after=after, limit=BATCH)
        if not found and not runs.get(tx, tenant_id, run_id).is_live:
            return None
    return found


def _missed(service: Service, tenant_id: str | None, position: int | None) -> Happened:
    if position is None:
        with service.database.read() as tx:
            return Happened(events=(), position=fleet.event_position(tx))
    found: list[Event] = []
    looked_through = 0
    for batch, read_on in _since(service, position):
        looked_through += len(batch)
        found += [event for event in batch if tenant_id in (None, event.tenant_id)]
        if looked_through > MOST_MISSED:
            return Happened(events=(), position=read_on, is_whole=False)
    return Happened(events=found, position=read_on)


def _since(service: Service, position: int) -> Iterator[tuple[list[Event], int]]:
    """Events of all runs in batches, at least one; each with the position to read on from."""
    after = None
    with service.database.read() as tx:
        read_on = fleet.event_position(tx)
        while True:
            found = fleet.events_since(tx, position, after=after, limit=BATCH)
            # On PostgreSQL the later of a run's events may have the lower position.
            yield sorted(found, key=lambda event: (event.run_id, event.sequence)), read_on
            if len(found) < BATCH:
                return
            after = (found[-1].position, found[-1].run_id, found[-1].sequence)
