"""A retry is a new run of the same work, which does again what was not finished."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from convergence.engine.cancel import cancel
from convergence.engine.execute import Executor
from convergence.engine.launch import Launched
from convergence.engine.retry import retry
from convergence.engine.service import Service
from convergence.errors import Conflict, NotFound, QuotaExceeded
from convergence.model.run import RetryRequest, Run, Status, StepRun, Trigger
from convergence.store import runs, tenants, usage
from tests.engine.conftest import Act, now

Walk = Callable[..., Run]
STEPS = (
    "step_id: a, ps_type: test.act, note: first",
    "step_id: b, ps_type: test.act, act: stumble",
    "step_id: told, ps_type: test.act, trigger: on_completion, note: told",
)
"""The second step stumbles until the diary has three lines."""


def again(service: Service, run: Run, *, is_whole: bool = False) -> Launched:
    return retry(service, RetryRequest(tenant_id="acme", run_id=run.run_id, is_whole=is_whole))


def walked(service: Service, launched: Launched) -> Run:
    Executor(service=service, worker="again").walk("acme", launched.run.run_id)
    return now(service, launched.run)


def steps_of(service: Service, run: Run) -> Sequence[StepRun]:
    with service.database.read() as tx:
        return runs.steps(tx, "acme", run.run_id)


def test_a_retry_does_what_was_not_finished(service: Service, walk: Walk, act: Act) -> None:
    run = walk(*STEPS)
    assert (run.status, act.diary) == (Status.FAILED, ["first", "stumble", "told"])
    launched = again(service, run)
    copied = steps_of(service, launched.run)
    assert [(step.step_id, step.status, step.rows) for step in copied] == [
        ("a", Status.COMPLETED, 1)
    ]
    ended = walked(service, launched)
    assert (ended.status, ended.retry_of) == (Status.COMPLETED, run.run_id)
    assert act.diary[3:] == ["stumble", "told"]
    assert now(service, run) == run


def test_a_whole_retry_does_all_of_it(service: Service, walk: Walk, act: Act) -> None:
    run = walk(*STEPS)
    walked(service, again(service, run, is_whole=True))
    assert act.diary[3:] == ["first", "stumble", "told"]


def test_a_retry_keeps_the_template_as_it_was(
    service: Service, walk: Walk, pend: Walk, act: Act
) -> None:
    run = walk(*STEPS)
    pend("step_id: other, ps_type: test.act, note: other", head='variables: {n: "1"}')
    launched = again(service, run)
    assert (launched.run.snapshot, launched.run.template_hash) == (run.snapshot, run.template_hash)
    assert launched.run.trigger is Trigger.RETRY
    assert launched.run.trigger_by == run.trigger_by


def test_a_cancelled_run_may_be_retried(service: Service, pend: Walk, act: Act) -> None:
    run = cancel(service, "acme", pend("step_id: a, ps_type: test.act").run_id)
    assert walked(service, again(service, run)).status is Status.COMPLETED


def test_a_live_run_is_not_retried(service: Service, pend: Walk) -> None:
    run = pend(*STEPS)
    with pytest.raises(Conflict, match="is PENDING"):
        again(service, run)


def test_a_completed_run_is_retried_as_a_whole_alone(
    service: Service, walk: Walk, act: Act
) -> None:
    run = walk("step_id: a, ps_type: test.act")
    with pytest.raises(Conflict) as refused:
        again(service, run)
    assert refused.value.code == "run_completed"
    assert walked(service, again(service, run, is_whole=True)).status is Status.COMPLETED


def test_two_retries_of_a_run_are_one(service: Service, walk: Walk) -> None:
    run = walk(*STEPS)
    first, second = again(service, run), again(service, run)
    assert (first.is_new, second.is_new) == (True, False)
    assert first.run.run_id == second.run.run_id


def test_a_retry_counts_against_the_quota(service: Service, walk: Walk) -> None:
    run = walk(*STEPS)
    day = run.created_at.date()
    with service.database.write() as tx:
        limits = replace(tenants.limits(tx, "acme"), daily_limit=2)
        tenants.set_limits(tx, "acme", limits, now=run.created_at)
    walked(service, again(service, run))
    with pytest.raises(QuotaExceeded):
        again(service, run)
    with service.database.read() as tx:
        assert usage.use(tx, "acme", day).today == 2


def test_a_foreign_run_is_absent(service: Service, walk: Walk) -> None:
    run = walk(*STEPS)
    with pytest.raises(NotFound):
        retry(service, RetryRequest(tenant_id="nobody", run_id=run.run_id))
