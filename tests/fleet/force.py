"""What holds by force, in a short form and a long one: the numbers are the tests'."""

import signal

from tests.fleet.conftest import Ground
from tests.fleet.machines import Caller, wait_until

AGE = "UPDATE cdp.workers SET seen_at = seen_at - interval '21 seconds' WHERE worker = :worker"


def check_paused_worker(ground: Ground, acme: Caller, *, runs: int) -> None:
    """A worker is stopped in the middle of its steps for longer than its lease: another one ends
    the runs, and nothing that the first writes afterwards counts.
    """
    fleet, sink = ground.fleet, ground.sink
    paused = fleet.work()
    sink.hold()
    ids = [acme.accepted(ground.server.url, number) for number in range(runs)]
    wait_until(lambda: sink.waiting >= runs)
    paused.send(signal.SIGSTOP)
    for name in paused.names:
        fleet.query(AGE, worker=name)
    fleet.work()
    sink.release()
    wait_until(lambda: fleet.live(acme.tenant) == 0)
    ended, steps = fleet.runs(acme.tenant), fleet.steps(acme.tenant)
    assert {(run.status, run.attempt) for run in ended} == {("COMPLETED", 2)}
    paused.send(signal.SIGCONT)
    wait_until(lambda: paused.log().count("attempt lost, nothing written") >= runs)
    assert fleet.runs(acme.tenant) == ended
    assert fleet.steps(acme.tenant) == steps
    assert all(1 <= sink.delivered[run_id] <= 2 for run_id in ids)
