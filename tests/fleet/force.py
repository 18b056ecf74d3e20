"""What holds by force, in a short form and a long one: the numbers are the tests'."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import httpx2

from tests.fleet.conftest import Ground
from tests.fleet.machines import Caller, rolled, wait_until

ENDLESS = 10**6
PACE = 0.5
"""Seconds between two blows, on average."""
AGE = "UPDATE cdp.workers SET seen_at = seen_at - interval '21 seconds' WHERE worker = :worker"


def check_paused_worker(ground: Ground, acme: Caller, *, runs: int) -> None:
    """A worker is stopped in the middle of its steps for longer than its lease: another one ends
    the runs, and nothing that the first writes afterwards counts. What it does with each of them
    is a race: it finds its lease gone and breaks off, or writes before that and is refused.
    """
    fleet, sink = ground.fleet, ground.sink
    paused = fleet.work()
    sink.hold()
    ids = [acme.accepted(ground.server.url, number) for number in range(runs)]
    wait_until(lambda: sink.holds(*ids))
    paused.send(signal.SIGSTOP)
    for name in paused.names:
        fleet.query(AGE, worker=name)
    fleet.work()
    sink.release()
    wait_until(lambda: fleet.live(acme.tenant) == 0)
    ended, steps = fleet.runs(acme.tenant), fleet.steps(acme.tenant)
    assert {run.status for run in ended} == {"COMPLETED"}, [run.error for run in ended]
    assert all(run.attempt >= 2 for run in ended)
    known = fleet.workers()
    paused.send(signal.SIGCONT)
    wait_until(lambda: "lease missed, beginning again" in paused.log())
    wait_until(lambda: bool(fleet.workers() - known))
    assert fleet.runs(acme.tenant) == ended
    assert fleet.steps(acme.tenant) == steps
    assert all(1 <= sink.delivered[run_id] <= 2 for run_id in ids)
    assert all(len(sink.ids[run_id]) == 1 for run_id in ids)


def check_limit(ground: Ground, *, triggers: int, limit: int) -> None:
    """Of triggers that come at once through several processes, as many as the limit are admitted;
    each of the others is told so.
    """
    acme = ground.caller(concurrent_limit=limit)
    answers = at_once(acme, ground.urls, range(triggers))
    codes = Counter(answer.status_code for answer in answers)
    assert codes == {202: limit, 429: triggers - limit}
    refused = {answer.json()["code"] for answer in answers if answer.status_code == 429}
    assert refused == {"quota_exceeded.concurrent"}
    assert len(ground.fleet.runs(acme.tenant)) == ground.fleet.slots(acme.tenant) == limit
    _leave(ground, acme)


def check_identical(ground: Ground, *, triggers: int) -> None:
    """Of triggers of the same work that come at once, one makes a run; all are told its id."""
    acme = ground.caller()
    answers = at_once(acme, ground.urls, [7] * triggers)
    assert Counter(answer.status_code for answer in answers) == {202: 1, 200: triggers - 1}
    assert len({answer.json()["pipeline_logging_id"] for answer in answers}) == 1
    assert len(ground.fleet.runs(acme.tenant)) == 1
    _leave(ground, acme)


def _leave(ground: Ground, acme: Caller) -> None:
    """No run waits for the worker of another test."""
    for run in ground.fleet.runs(acme.tenant):
        acme.cancel(ground.server.url, run.run_id)


def at_once(acme: Caller, urls: list[str], numbers: Sequence[int]) -> list[httpx2.Response]:
    """All of these, by many callers, through each of the servers in turn."""
    callers = 50
    gate = threading.Barrier(callers)

    def call(part: int) -> list[httpx2.Response]:
        mine = list(enumerate(numbers))[part::callers]
        gate.wait()
        return [acme.trigger(urls[index % len(urls)], number) for index, number in mine]

    with ThreadPoolExecutor(callers) as pool:
        return [answer for part in pool.map(call, range(callers)) for answer in part]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of accepted runs, for the notes of who measures."""

    completed: int
    given_up: int
    delivered_twice: int


def check_kept(ground: Ground, acme: Caller, accepted: Sequence[str]) -> Outcome:
    """Nothing that was accepted is lost, doubled or stays; no slot leaks; no mail is missing."""
    fleet, delivered = ground.fleet, ground.sink.delivered
    wait_until(lambda: fleet.live(acme.tenant) == 0, seconds=600)
    runs = fleet.runs(acme.tenant)
    assert set(accepted) <= {run.run_id for run in runs}
    assert fleet.slots(acme.tenant) == 0
    steps = Counter(step.run_id for step in fleet.steps(acme.tenant))
    given_up = [run for run in runs if run.error_code == "too_many_attempts"]
    completed = [run.run_id for run in runs if run.status == "COMPLETED"]
    assert len(completed) + len(given_up) == len(runs), Counter(run.error for run in runs)
    assert all(steps[run_id] == 1 and delivered[run_id] >= 1 for run_id in completed)
    assert all(len(ground.sink.ids[run_id]) == 1 for run_id in completed)
    return Outcome(
        completed=len(completed),
        given_up=len(given_up),
        delivered_twice=sum(delivered[run.run_id] > 1 for run in runs),
    )


def check_kills(ground: Ground, *, kills: int, runs: int, seed: int | None = None) -> Outcome:
    """Workers are killed at random moments while runs pass; a killed one is started again."""
    chance, fleet, acme = rolled(seed), ground.fleet, ground.caller()
    crew = [fleet.start("worker") for _ in range(2)]
    with feeding(ground, acme, runs) as feed:
        for blow in range(1, kills + 1):
            victim = chance.randrange(len(crew))
            wait_until(crew[victim].is_working)
            feed.due = runs * blow // kills
            time.sleep(chance.uniform(0, 2 * PACE))
            crew[victim].kill()
            crew[victim] = fleet.start("worker", home=crew[victim].home)
    return check_kept(ground, acme, feed.accepted)


def check_outages(ground: Ground, *, stops: int, runs: int, seed: int | None = None) -> Outcome:
    """PostgreSQL dies at random moments while runs pass, and comes back."""
    chance, fleet, acme = rolled(seed), ground.fleet, ground.caller()
    crew = [fleet.work() for _ in range(2)]
    for worker in crew:
        wait_until(worker.is_working)  # one that is still starting may end with the database
    with feeding(ground, acme, runs) as feed:
        for blow in range(1, stops + 1):
            feed.due = runs * blow // stops
            time.sleep(chance.uniform(0, 2 * PACE))
            ground.postgres.stop()
            ground.postgres.start()
    assert not any(worker.has_ended() for worker in crew)
    return check_kept(ground, acme, feed.accepted)


def check_rolling(ground: Ground, *, restarts: int, seed: int | None = None) -> Outcome:
    """Two servers are restarted in turn under load; the client tries the other one."""
    chance, fleet, acme = rolled(seed), ground.fleet, ground.caller()
    fleet.work()
    with feeding(ground, acme, ENDLESS) as feed:
        feed.due = ENDLESS
        for number in range(restarts):
            time.sleep(chance.uniform(0, PACE))
            server = ground.servers[number % 2]
            server.stop()
            ground.servers[number % 2] = fleet.serve(like=server)
    return check_kept(ground, acme, feed.accepted)


@dataclass(slots=True, kw_only=True)
class Feed:
    """Runs that are triggered meanwhile: the first `due` of them by now."""

    accepted: list[str] = field(default_factory=list)
    due: int = 0


@contextmanager
def feeding(ground: Ground, acme: Caller, runs: int) -> Iterator[Feed]:
    """Trigger runs, so many or until the block ends, and keep the ids of those accepted. A server
    that is away, or says 503 or 429, is asked again, or another; any other refusal is a failure.
    """
    fed = Feed()
    failures: list[str] = []
    is_over = threading.Event()

    def feed() -> None:
        for number in range(runs):
            while number >= fed.due and not is_over.wait(0.02):
                pass
            answer = _asked(acme, ground.urls, number, is_over)
            if answer is None:
                break
            if answer.status_code not in {200, 202}:
                failures.append(answer.text)
            fed.accepted.append(answer.json().get("pipeline_logging_id"))
            time.sleep(0.05)

    ground.sink.lag = 0.2  # so that a blow finds runs under way
    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield fed
    finally:
        fed.due = runs
        if runs == ENDLESS:
            is_over.set()
        feeder.join()
        ground.sink.lag = 0
    assert failures == []


def _asked(
    acme: Caller, urls: list[str], number: int, is_over: threading.Event
) -> httpx2.Response | None:
    for turn in count(number):
        if is_over.is_set():
            return None
        try:
            answer = acme.trigger(urls[turn % len(urls)], number)
        except httpx2.TransportError:
            time.sleep(0.05)
            continue
        if answer.status_code not in {429, 503}:
            return answer
        assert "Retry-After" in answer.headers, answer.text
        time.sleep(0.1)
    return None
