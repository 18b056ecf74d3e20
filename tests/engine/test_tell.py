"""What a step tells, as its tenant reads it."""

from collections.abc import Callable

import pytest

from convergence.engine import tell
from convergence.engine.service import Service
from convergence.engine.tell import Teller
from convergence.errors import Conflict
from convergence.model.event import Event, EventKind, Level
from convergence.model.run import Run, Status
from convergence.store import events, runs


@pytest.fixture
def teller(service: Service, pend: Callable[..., Run]) -> Teller:
    """Of the first attempt of a claimed run."""
    run = pend("step_id: a, ps_type: test.act")
    return Teller(service=service, run=claimed(service, run), step_id="a")


def claimed(service: Service, run: Run) -> Run:
    with service.database.write() as tx:
        found = runs.claim(tx, "acme", run.run_id, worker="w", now=service.clock.now())
    assert found is not None
    return found


def lines(service: Service, run: Run) -> list[Event]:
    with service.database.read() as tx:
        found = events.page(tx, "acme", run.run_id, limit=100)
    return [event for event in found if event.kind is EventKind.LOG]


def test_a_line_has_its_step_its_level_and_its_facts(service: Service, teller: Teller) -> None:
    teller("file read", path="ä.csv", rows=3, share=float("inf"), of=Status.FAILED)
    teller("odd", Level.WARNING)
    first, second = lines(service, teller.run)
    assert (first.message, first.step_id, first.level) == ("file read", "a", Level.INFO)
    assert first.facts == {"path": "ä.csv", "rows": 3, "share": "inf", "of": "FAILED"}
    assert (second.level, second.sequence) == (Level.WARNING, first.sequence + 1)


def test_keys_and_endless_texts_are_not_kept(service: Service, teller: Teller) -> None:
    teller("key cdp_live_abcdefghijkl_secretsecret", text="x" * 10_000)
    (line,) = lines(service, teller.run)
    assert line.message == "key cdp_live_abcdefghijkl_[redacted]"
    assert len(line.facts["text"]) == tell.MAX_TEXT


def test_a_step_that_never_stops_talking_is_cut(
    service: Service, teller: Teller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tell, "MOST_LINES", 3)
    for number in range(9):
        teller(str(number))
    told = [line.message for line in lines(service, teller.run)]
    assert told == ["0", "1", "further lines are in the service's log"]


def test_an_older_attempt_tells_nothing(service: Service, teller: Teller) -> None:
    claimed(service, teller.run)
    with pytest.raises(Conflict, match="another attempt"):
        teller("late")
    assert lines(service, teller.run) == []


def test_nothing_is_told_after_the_end(service: Service, teller: Teller) -> None:
    run = teller.run
    with service.database.write() as tx:
        now = service.clock.now()
        runs.finish(tx, "acme", run.run_id, attempt=1, status=Status.CANCELLED, now=now)
    with pytest.raises(Conflict):
        teller("late")
    assert lines(service, run) == []


def test_a_second_try_is_told(service: Service, walk: Callable[..., Run]) -> None:
    retry = "retry: {max_attempts: 3, backoff_seconds: 0}"
    run = walk(f"step_id: a, ps_type: test.act, act: stumble, {retry}")
    assert run.status is Status.COMPLETED
    told = [(line.step_id, line.level, line.message) for line in lines(service, run)]
    again = "interrupted, trying again in 0 s: told to stumble"
    assert told == [("a", Level.WARNING, again)] * 2
