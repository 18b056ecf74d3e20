"""The walk: steps in order, failures as outcomes, terminal steps with the real status."""

from collections.abc import Callable

from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.service import Service
from convergence.model.run import LaunchRequest, Run, Status, StepRun
from convergence.store import runs, usage
from tests.engine.conftest import Act
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


def test_a_passing_failure_is_tried_again(walk: Walk, act: Act) -> None:
    run = walk(
        "step_id: a, ps_type: test.act, act: stumble, "
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


def test_alert_stops_and_tells_the_admin(service: Service, walk: Walk, act: Act) -> None:
    service.mailer = mailer = FakeMailer()
    run = walk("step_id: a, ps_type: test.act, act: fail, on_failure: alert")
    assert run.status is Status.FAILED
    assert [mail.to for mail in mailer.sent] == [("finops@acme.example",)]
    assert "told to fail" in mailer.sent[0].text


def test_the_end_of_a_run_is_counted_once(service: Service, walk: Walk, act: Act) -> None:
    run = walk("step_id: a, ps_type: test.act, act: fail")
    Executor(service=service, worker="other").walk("acme", run.run_id)
    with service.database.read() as tx:
        row = usage.row(tx, "acme", run.created_at.date())
    assert row is not None
    assert (row.pipelines_failed_today, row.concurrent_pipelines_running) == (1, 0)


def test_a_taken_over_run_keeps_its_finished_steps(service: Service, walk: Walk, act: Act) -> None:
    walk("step_id: a, ps_type: test.act, note: first", "step_id: b, ps_type: test.act")
    run = launch(service, LaunchRequest(tenant_id="acme", template="test/engine/steps")).run
    dead = Executor(service=service, worker="dead")
    claim = dead.begin("acme", run.run_id)
    assert claim is not None
    dead.run_step("acme", run.run_id, "a", attempt=claim.attempt, so_far={})
    act.diary.clear()
    Executor(service=service, worker="alive").walk("acme", run.run_id)
    assert act.diary == ["ok"]


def test_a_run_that_kills_each_worker_is_given_up(service: Service, walk: Walk, act: Act) -> None:
    walk("step_id: a, ps_type: test.act")
    run = launch(service, LaunchRequest(tenant_id="acme", template="test/engine/steps")).run
    for number in range(6):
        Executor(service=service, worker=f"worker-{number}").begin("acme", run.run_id)
    with service.database.read() as tx:
        ended = runs.get(tx, "acme", run.run_id)
    assert (ended.status, ended.error_code) == (Status.FAILED, "too_many_attempts")
