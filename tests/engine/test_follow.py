"""Onlookers of runs, on both databases: each sees every event once, in order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from convergence.engine import follow
from convergence.engine.follow import Feed, Happened, Onlooker, run_events, tenant_events
from convergence.engine.service import Service
from convergence.errors import NotFound, Unavailable
from convergence.model.event import Event, EventKind, Level
from convergence.model.run import Status
from convergence.settings.fields import Settings
from convergence.store import events, fleet, runs
from convergence.store.database import ReadTx
from convergence.wiring import build
from tests.conftest import postgres_url
from tests.fakes import FakeClock
from tests.store.conftest import NOW, add_tenant, make_run

PATIENCE = 30.0
"""Seconds until a test gives up waiting for what must come."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def feed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Feed]:
    """Over a store with the tenants acme and rival, and acme's run r1."""
    urls = iter(()) if request.param == "sqlite" else postgres_url(request)
    url = next(urls, None)
    database_url = SecretStr(url) if url else None
    service = build(Settings(home=tmp_path / "home", database_url=database_url))
    service.clock = FakeClock()
    with service.database.write() as tx:
        for tenant_id in ("acme", "rival"):
            add_tenant(tx, tenant_id)
        runs.insert(tx, make_run())
    yield Feed(service=service)
    service.close()
    next(urls, None)


def say(service: Service, *messages: str, run_id: str = "r1", tenant_id: str = "acme") -> None:
    """Write lines into a run's log, a transaction each."""
    for message in messages:
        with service.database.write() as tx:
            assert runs.hold(tx, tenant_id, run_id, attempt=0)
            line = Event(
                run_id=run_id,
                tenant_id=tenant_id,
                at=NOW,
                kind=EventKind.LOG,
                level=Level.INFO,
                message=message,
            )
            events.append(tx, line)


def end(service: Service, run_id: str = "r1") -> None:
    with service.database.write() as tx:
        runs.finish(tx, "acme", run_id, attempt=0, status=Status.CANCELLED, now=NOW)


def polled(feed: Feed, story: Callable[[], Coroutine[None, None, None]]) -> None:
    """Let a story happen while the feed is polled, as a server does."""

    async def poll() -> None:
        while True:
            await asyncio.to_thread(feed.poll)
            await asyncio.sleep(0.01)

    async def both() -> None:
        polling = asyncio.create_task(poll())
        try:
            await asyncio.wait_for(story(), PATIENCE)
        finally:
            polling.cancel()

    asyncio.run(both())


async def messages(feed: Feed, *, after: int = 0, most: int = 10**6) -> list[str]:
    """What r1 tells after an event, to its end or the first `most`."""
    told: list[str] = []
    async for found in run_events(feed, "acme", "r1", after=after):
        told += [event.message for event in found]
        if len(told) >= most:
            break
    return told[:most]


def test_a_run_is_followed_from_its_first_event_to_its_last(feed: Feed) -> None:
    async def story() -> None:
        say(feed.service, "a", "b")
        following = asyncio.create_task(messages(feed))
        await asyncio.sleep(0)
        for message in "cdefg":
            await asyncio.to_thread(say, feed.service, message)
        await asyncio.to_thread(end, feed.service)
        assert await following == ["run accepted", *"abcdefg", "run cancelled"]

    polled(feed, story)


def test_who_comes_back_misses_and_sees_twice_nothing(feed: Feed) -> None:
    lines = [str(number) for number in range(60)]

    async def story() -> None:
        writing = asyncio.create_task(asyncio.to_thread(write))
        told: list[str] = []
        while told[-1:] != ["run cancelled"]:
            told += await messages(feed, after=len(told), most=7)
        await writing
        assert told == ["run accepted", *lines, "run cancelled"]

    def write() -> None:
        say(feed.service, *lines)
        end(feed.service)

    polled(feed, story)


def test_who_falls_behind_reads_on_from_the_store(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "MOST_WAITING", 3)
    monkeypatch.setattr(follow, "BATCH", 4)

    async def story() -> None:
        told: list[str] = []
        async for found in run_events(feed, "acme", "r1"):
            if not told:
                await asyncio.to_thread(say, feed.service, *"abcdefghij")
                feed.poll()
                await asyncio.to_thread(end, feed.service)
            told += [event.message for event in found]
        assert told == ["run accepted", *"abcdefghij", "run cancelled"]

    polled(feed, story)


def test_a_run_that_is_over_lets_its_onlooker_go(feed: Feed) -> None:
    async def story() -> None:
        end(feed.service)
        assert await messages(feed) == ["run accepted", "run cancelled"]
        assert await messages(feed, after=2) == []
        assert await messages(feed, after=99) == []

    polled(feed, story)


def test_a_neighbours_run_cannot_be_followed(feed: Feed) -> None:
    async def story() -> None:
        with pytest.raises(NotFound):
            await anext(run_events(feed, "rival", "r1"))

    polled(feed, story)


def test_the_end_of_the_feed_lets_everybody_go(feed: Feed) -> None:
    async def story() -> None:
        following = [asyncio.create_task(messages(feed)) for _ in range(20)]
        following.append(asyncio.create_task(_all(tenant_events(feed, "acme"))))
        await _until(lambda: feed.size == 21)
        feed.end()
        await asyncio.gather(*following)
        assert feed.size == 0

    polled(feed, story)


def test_a_tenants_onlooker_sees_its_runs_and_no_others(feed: Feed) -> None:
    async def story() -> None:
        theirs, ours = tenant_events(feed, "rival"), tenant_events(feed, "acme")
        assert [(await anext(each)).events for each in (theirs, ours)] == [(), ()]
        await asyncio.to_thread(say, feed.service, "a")
        with feed.service.database.write() as tx:
            runs.insert(tx, make_run("r2", "rival"))
        seen = await anext(ours)
        assert [event.message for event in seen.events] == ["a"]
        assert [event.run_id for event in (await anext(theirs)).events] == ["r2"]

    polled(feed, story)


def test_a_tenants_onlooker_who_comes_back_sees_what_it_missed(feed: Feed) -> None:
    async def story() -> None:
        say(feed.service, "a")
        first = await anext(tenant_events(feed, "acme"))
        say(feed.service, "b", "c")
        returning = tenant_events(feed, "acme", position=first.position)
        missed = await anext(returning)
        assert [event.message for event in missed.events] == ["b", "c"]
        await asyncio.to_thread(say, feed.service, "d")
        assert [event.message for event in (await anext(returning)).events] == ["d"]

    polled(feed, story)


def test_who_missed_too_much_is_told_so(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "MOST_MISSED", 3)

    async def story() -> None:
        say(feed.service, *"abcdef")
        missed = await anext(tenant_events(feed, "acme", position=0))
        assert (missed.events, missed.is_whole) == ((), False)

    polled(feed, story)


def test_who_joins_while_a_poll_begins_gets_what_it_finds(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, joined = fleet.event_position, list[Onlooker]()

    async def story() -> None:
        loop = asyncio.get_running_loop()

        async def join() -> None:
            joined.append(await stack.enter_async_context(feed.onlooker(tenant_id="acme")))

        def event_position(tx: ReadTx) -> int:
            monkeypatch.setattr(fleet, "event_position", ask)
            asyncio.run_coroutine_threadsafe(join(), loop).result()
            say(feed.service, "a")
            return ask(tx)

        async with AsyncExitStack() as stack, feed.onlooker(tenant_id="acme"):
            monkeypatch.setattr(fleet, "event_position", event_position)
            await _until(lambda: bool(joined))
            assert [event.message for event in (await joined[0].take()).events] == ["a"]

    polled(feed, story)


def test_nobody_polls_for_nobody(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    say(feed.service, "a")
    monkeypatch.setitem(feed.service.__dict__, "database", None)  # one that is asked breaks
    feed.poll()


def test_one_tenant_cannot_open_streams_without_end(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "MOST_ONLOOKERS", 1)

    async def story() -> None:
        feed.check_room("acme")
        async with feed.onlooker(tenant_id="acme"):
            with pytest.raises(Unavailable, match="1 streams of acme"):
                feed.check_room("acme")
            feed.check_room("rival")

    polled(feed, story)


async def _all(stream: AsyncIterator[Happened]) -> list[str]:
    return [event.message async for happened in stream for event in happened.events]


async def _until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.01)
