"""The walk: steps in order, failures as outcomes, terminal steps with the real status."""

from collections.abc import Callable
from pathlib import Path

import pytest

from convergence.engine import record
from convergence.engine.deliver import deliver
from convergence.engine.execute import MAX_ATTEMPTS, Executor
from convergence.engine.service import Service
from convergence.errors import Cancelled, Conflict
from convergence.model.run import Run, Status, StepRun
from convergence.steps.base import Report
from convergence.steps.registry import STEP_TYPES
from convergence.store import runs, usage
from tests.engine.conftest import Act, now
from tests.fakes import FakeMailer

Walk = Callable[..., Run]


def steps_of(service: Service, run: Run) -> dict[str, StepRun]:
    with service.database.read() as tx:
        return {step.step_id: step for step in runs.steps(tx, run.tenant_id, run.run_id)}


def test_steps_run_in_the_order_of_writing(service: Service, walk: Walk, act: Act) -> None:
    run = walk(
        "step_id: a, ps_type: test.act, note: one", "step_id: b, ps_type: test.act, note: two"
    )
    assert run.status is Status.COMPLETED
    assert act.diary == ["one", "two"]
    assert steps_of(service, run)["b"].rows == 2


def test_a_failed_step_fails_the_run_and_skips_the_rest(
    service: Service, walk: Walk, act: Act
) -> None:
    run = walk("step_id: a, ps_type: test.act, act: fail", "step_id: b, ps_type: test.act")
    assert (run.status, run.error_code) == (Status.FAILED, "told")
    assert "a: told to fail" in (run.error or "")
    assert steps_of(service, run)["b"].status is Status.SKIPPED


def test_a_step_that_may_fail_does_not_stop_the_run(walk: Walk, act: Act) -> None:
    run = walk(
        "step_id: a, ps_type: test.act, act: fail, on_failure: continue",
        "step_id: b, ps_type: test.act, note: after",
    )
    assert run.status is Status.COMPLETED
    assert act.diary[-1] == "after"
    assert run.error is None


def test_a_broken_step_ends_the_run_with_a_reason(walk: Walk, act: Act) -> None:
    run = walk("step_id: a, ps_type: test.act, act: break")
    assert (run.status, run.error_code) == (Status.FAILED, "internal_error")
    assert "ZeroDivisionError" in (run.error or "")


@pytest.mark.parametrize("failure", ["stumble", "be away"])
def test_a_passing_failure_is_tried_again(walk: Walk, act: Act, failure: str) -> None:
    run = walk(
        f"step_id: a, ps_type: test.act, act: {failure}, "
        "retry: {max_attempts: 3, backoff_seconds: 0.01}"
    )
    assert run.status is Status.COMPLETED
    assert len(act.diary) == 3


def test_a_lasting_failure_is_not_tried_again(walk: Walk, act: Act) -> None:
    walk(
        "step_id: a, ps_type: test.act, act: fail, retry: {max_attempts: 3, backoff_seconds: 0.01}"
    )
    assert len(act.diary) == 1


def test_on_failure_steps_run_with_the_real_status_and_error(walk: Walk, act: Act) -> None:
    walk(
        "step_id: a, ps_type: test.act, act: fail",
        'step_id: bad, ps_type: test.act, trigger: on_failure, note: "{status} {error_message}"',
        "step_id: good, ps_type: test.act, trigger: on_success, note: never",
        'step_id: both, ps_type: test.act, trigger: on_completion, note: "{pipeline_status}"',
    )
    assert act.diary == ["fail", "FAILED a: told to fail", "FAILED"]


def test_on_success_steps_run_after_success_alone(walk: Walk, act: Act) -> None:
    walk(
        "step_id: a, ps_type: test.act",
        "step_id: good, ps_type: test.act, trigger: on_success, note: yes-it-did",
        "step_id: bad, ps_type: test.act, trigger: on_failure, note: never",
    )
    assert act.diary == ["ok", "yes-it-did"]


def test_a_step_out_of_time_fails_and_says_so(walk: Walk, act: Act) -> None:
    run = walk("step_id: a, ps_type: test.act, act: sleep, timeout_minutes: 0.002")
    assert (run.status, run.error_code) == (Status.FAILED, "step_timeout")


def test_a_run_out_of_time_fails_and_says_so(walk: Walk, act: Act) -> None:
    run = walk("step_id: a, ps_type: test.act, act: sleep", head="timeout_minutes: 0.002")
    assert (run.status, run.error_code) == (Status.FAILED, "run_timeout")


def test_a_run_out_of_time_fails_also_when_its_steps_may_fail(walk: Walk, act: Act) -> None:
    run = walk(
        "step_id: a, ps_type: test.act, act: sleep, on_failure: continue",
        head="timeout_minutes: 0.002",
    )
    assert (run.status, run.error_code) == (Status.FAILED, "run_timeout")


def test_what_follows_a_run_out_of_time_knows_that_it_failed(walk: Walk, act: Act) -> None:
    run = walk(
        "step_id: a, ps_type: test.act, act: sleep, on_failure: continue",
        "step_id: b, ps_type: test.act, note: never",
        'step_id: bad, ps_type: test.act, trigger: on_failure, note: "{status} {error_message}"',
        "step_id: good, ps_type: test.act, trigger: on_success, note: never",
        head="timeout_minutes: 0.002",
    )
    assert run.error_code == "run_timeout"
    assert [line.split(" (")[0] for line in act.diary] == [
        "sleep",
        "FAILED a: the run took longer than its 0.002 minutes",
    ]


def test_steps_without_an_order_run_side_by_side(walk: Walk, act: Act) -> None:
    run = walk(
        "step_id: a, ps_type: test.act, act: meet, depends_on: []",
        "step_id: b, ps_type: test.act, act: meet, depends_on: []",
        "step_id: c, ps_type: test.act, note: after, depends_on: [a, b]",
    )
    assert run.status is Status.COMPLETED
    assert act.diary == ["meet", "meet", "after"]


def test_alert_stops_and_tells_the_admin(service: Service, walk: Walk, act: Act) -> None:
    service.mailer = mailer = FakeMailer()
    run = walk("step_id: a, ps_type: test.act, act: fail, on_failure: alert")
    assert run.status is Status.FAILED
    assert deliver(service) == 1
    assert [mail.to for mail in mailer.sent] == [("finops@acme.example",)]
    assert "told to fail" in mailer.sent[0].text


def test_the_end_of_a_run_is_counted_once(service: Service, walk: Walk, act: Act) -> None:
    run = walk("step_id: a, ps_type: test.act, act: fail")
    Executor(service=service, worker="other").walk("acme", run.run_id)
    with service.database.read() as tx:
        row = usage.row(tx, "acme", run.created_at.date())
    assert row is not None
    assert (row.pipelines_failed_today, row.concurrent_pipelines_running) == (1, 0)


def test_a_step_out_of_time_still_has_its_failure_steps(walk: Walk, act: Act) -> None:
    walk(
        "step_id: a, ps_type: test.act, act: sleep, timeout_minutes: 0.002",
        'step_id: tell, ps_type: test.act, trigger: on_failure, note: "{error_message}"',
    )
    assert act.diary[1].startswith("a: step a took longer than its 0.002 minutes")


def test_a_run_out_of_time_still_has_its_failure_steps(walk: Walk, act: Act) -> None:
    walk(
        "step_id: a, ps_type: test.act, act: sleep",
        "step_id: tell, ps_type: test.act, trigger: on_failure, note: told",
        head="timeout_minutes: 0.002",
    )
    assert act.diary == ["sleep", "told"]


def test_a_step_out_of_time_does_not_stop_what_runs_beside_it(walk: Walk, act: Act) -> None:
    run = walk(
        "step_id: a, ps_type: test.act, act: sleep, timeout_minutes: 0.002, on_failure: continue",
        "step_id: b, ps_type: test.act, depends_on: []",
    )
    assert run.status is Status.COMPLETED


def test_a_cancelled_run_stops_and_has_its_completion_steps(
    service: Service, pend: Walk, act: Act
) -> None:
    run = pend(
        "step_id: a, ps_type: test.act, note: never",
        "step_id: bad, ps_type: test.act, trigger: on_failure, note: never",
        'step_id: both, ps_type: test.act, trigger: on_completion, note: "{status}"',
    )
    with service.database.write() as tx:
        runs.request_cancel(tx, "acme", run.run_id, now=service.clock.now())
    Executor(service=service, worker="test").walk("acme", run.run_id)
    assert now(service, run).status is Status.CANCELLED
    assert act.diary == ["CANCELLED"]


def test_the_reason_is_the_step_that_stopped_the_run(walk: Walk, act: Act) -> None:
    run = walk(
        "step_id: a, ps_type: test.act, act: break, on_failure: continue",
        "step_id: b, ps_type: test.act, act: fail",
        "step_id: tell, ps_type: test.act, trigger: on_failure, act: break",
    )
    assert (run.error_code, run.error) == ("told", "b: told to fail")


def test_a_long_error_is_cut(walk: Walk, act: Act) -> None:
    error = walk("step_id: a, ps_type: test.act, act: rant").error or ""
    assert 3000 < len(error) < 5000
    assert error.endswith("…")


def test_a_step_has_variables_of_its_own(walk: Walk, act: Act) -> None:
    run = walk('step_id: a, ps_type: test.act, variables: {x: "{run_id}"}, note: "{x}"')
    assert run.status is Status.COMPLETED
    assert act.diary == [run.run_id]


def test_a_taken_over_run_keeps_how_its_steps_ended(service: Service, pend: Walk, act: Act) -> None:
    run = pend(
        "step_id: a, ps_type: test.act, act: fail, on_failure: continue",
        "step_id: b, ps_type: test.act",
        "step_id: c, ps_type: test.act, note: last",
    )
    dead = Executor(service=service, worker="dead").begin("acme", run.run_id)
    assert dead is not None
    for _ in range(3):
        dead.run_steps(dead.next_steps())
    assert steps_of(service, run)["c"].status is Status.RUNNING  # its end was not written
    act.diary.clear()
    Executor(service=service, worker="alive").walk("acme", run.run_id)
    assert act.diary == ["last"]
    assert steps_of(service, run)["a"].status is Status.FAILED


def test_an_older_attempt_can_write_nothing_more(service: Service, pend: Walk, act: Act) -> None:
    run = pend(
        "step_id: a, ps_type: test.act, note: begun", "step_id: b, ps_type: test.act, note: never"
    )
    old = Executor(service=service, worker="old").begin("acme", run.run_id)
    assert old is not None
    old.run_steps(old.next_steps())
    Executor(service=service, worker="new").begin("acme", run.run_id)
    (step,) = old.next_steps()
    with pytest.raises(Conflict) as lost:
        old.run_steps([step])
    moment = service.clock.now()
    begun = record.started(old.run, step, template=old.claim.template, now=moment)
    old.records["b"] = record.completed(begun, Report(), now=moment)
    old.finish()
    assert lost.value.code == "attempt_lost"
    assert (act.diary, now(service, run).status) == (["begun"], Status.RUNNING)


def cut_off(executor: Executor, run: Run) -> None:
    """Begin the run's next step as a process that ends meanwhile."""
    with executor.under_way(run.run_id):
        walk = executor.begin("acme", run.run_id)
        assert walk is not None
        executor.break_off()
        with pytest.raises(Cancelled):
            walk.run_steps(walk.next_steps())


def test_a_run_that_ends_each_worker_is_given_up(service: Service, pend: Walk, act: Act) -> None:
    run = pend("step_id: a, ps_type: test.act, act: sleep")
    for number in range(MAX_ATTEMPTS):
        dead = Executor(service=service, worker=f"worker-{number}")
        cut_off(dead, run)
        assert steps_of(service, run)["a"].status is Status.RUNNING
    assert Executor(service=service, worker="last").begin("acme", run.run_id) is None
    ended = now(service, run)
    assert (ended.status, ended.error_code) == (Status.FAILED, "too_many_attempts")
    assert steps_of(service, run)["a"].error_code == "too_many_attempts"


def test_a_step_that_ends_begins_the_count_of_attempts_anew(service: Service, pend: Walk) -> None:
    run = pend("step_id: a, ps_type: test.act", "step_id: b, ps_type: test.act")
    executor = Executor(service=service, worker="w")
    *_, walk = [executor.begin("acme", run.run_id) for _ in range(MAX_ATTEMPTS)]
    assert walk is not None
    for _ in range(2):
        walk.run_steps(walk.next_steps())
    assert steps_of(service, run)["b"].status is Status.RUNNING  # its end was not written
    executor.walk("acme", run.run_id)
    assert now(service, run).status is Status.COMPLETED


def test_a_run_keeps_the_template_it_was_admitted_with(
    service: Service, pend: Walk, act: Act, tmp_path: Path
) -> None:
    run = pend("step_id: a, ps_type: test.act, note: as-admitted")
    file = tmp_path / "configs/test/engine/steps.yml"
    file.write_text(file.read_text().replace("as-admitted", "as-edited"))
    Executor(service=service, worker="test").walk("acme", run.run_id)
    assert act.diary == ["as-admitted"]


def test_a_template_that_is_no_longer_valid_ends_the_run(
    service: Service, pend: Walk, act: Act
) -> None:
    run = pend("step_id: a, ps_type: test.act")
    service.step_types = STEP_TYPES
    Executor(service=service, worker="test").walk("acme", run.run_id)
    ended = now(service, run)
    assert (ended.status, ended.error_code) == (Status.FAILED, "invalid_template")
    assert "test.act" in (ended.error or "")
