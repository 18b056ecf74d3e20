"""A cancelled run ends within moments, wherever it is, and leaves nothing half-done."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from convergence.engine import costs, serve
from convergence.engine.cancel import cancel, trip_cancelled
from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import onboard
from convergence.engine.serve import Serving
from convergence.engine.service import Service
from convergence.engine.work import DurableQueue
from convergence.errors import Conflict, NotFound
from convergence.library import Library
from convergence.model.run import LaunchRequest, Run, Status, StepRun
from convergence.settings.fields import Settings
from convergence.steps.base import step_models
from convergence.store import runs, usage
from convergence.store.tables import load_leases
from convergence.wiring import build
from tests.conftest import application, postgres_url
from tests.engine.conftest import Act, now, wait_for, wait_for_diary

Pend = Callable[..., Run]
SLEEP = "step_id: a, ps_type: test.act, act: sleep"
ENDLESS_LOAD = (
    'step_id: a, ps_type: gcp.bq_etl, source: {query: "SELECT COUNT(*) AS n FROM '
    "UNNEST(GENERATE_ARRAY(1, 10000)) AS a CROSS JOIN UNNEST(GENERATE_ARRAY(1, 10000)) AS b "
    'CROSS JOIN UNNEST(GENERATE_ARRAY(1, 10000)) AS c"}, '
    "destination: {table: slow, write_mode: overwrite}"
)


def steps_of(service: Service, run: Run) -> dict[str, StepRun]:
    with service.database.read() as tx:
        return {step.step_id: step for step in runs.steps(tx, run.tenant_id, run.run_id)}


def live_and_cancelled(service: Service, run: Run) -> tuple[int, int]:
    with service.database.read() as tx:
        day = run.created_at.date()
        row = usage.row(tx, run.tenant_id, day)
        assert row is not None
        return usage.use(tx, run.tenant_id, day).live, row.pipelines_cancelled_today


def test_a_run_that_nobody_has_yet_is_cancelled_at_once(
    service: Service, pend: Pend, act: Act
) -> None:
    run = pend(SLEEP)
    cancelled = cancel(service, "acme", run.run_id)
    assert (cancelled.status, cancelled.error_code) == (Status.CANCELLED, "cancelled")
    assert live_and_cancelled(service, run) == (0, 1)
    assert isinstance(service.queue, DurableQueue)
    assert service.queue.places([run.run_id])[run.run_id].status == "CANCELLED"
    Executor(service=service, worker="late").walk("acme", run.run_id)
    assert act.diary == []


def test_cancelling_twice_gives_the_same_and_counts_once(service: Service, pend: Pend) -> None:
    run = pend(SLEEP)
    first = cancel(service, "acme", run.run_id)
    assert cancel(service, "acme", run.run_id) == first
    assert live_and_cancelled(service, run) == (0, 1)


def test_a_run_that_ended_cannot_be_cancelled(service: Service, walk: Pend) -> None:
    run = walk("step_id: a, ps_type: test.act")
    with pytest.raises(Conflict, match="is COMPLETED"):
        cancel(service, "acme", run.run_id)
    assert now(service, run) == run


def test_a_foreign_run_is_absent(service: Service, pend: Pend) -> None:
    run = pend(SLEEP)
    onboard(service, application("rival"))
    with pytest.raises(NotFound):
        cancel(service, "rival", run.run_id)
    assert now(service, run).status is Status.PENDING


def test_a_claimed_run_ends_cancelled_and_runs_what_follows_it(
    service: Service, pend: Pend, act: Act
) -> None:
    run = pend(
        "step_id: a, ps_type: test.act, note: never",
        'step_id: told, ps_type: test.act, trigger: on_completion, note: "{status}"',
        "step_id: bad, ps_type: test.act, trigger: on_failure, note: never",
    )
    executor = Executor(service=service, worker="w")
    assert executor.begin("acme", run.run_id)
    assert cancel(service, "acme", run.run_id).status is Status.RUNNING
    executor.walk("acme", run.run_id)
    assert now(service, run).status is Status.CANCELLED
    assert act.diary == ["CANCELLED"]
    assert live_and_cancelled(service, run) == (0, 1)


def test_a_cancel_reaches_no_step_that_tells_of_the_end(
    service: Service, pend: Pend, act: Act
) -> None:
    run = pend(
        "step_id: a, ps_type: test.act",
        "step_id: told, ps_type: test.act, trigger: on_completion, act: sleep",
    )
    executor = Executor(service=service, worker="w")
    with ThreadPoolExecutor(1) as pool:
        walking = pool.submit(executor.walk, "acme", run.run_id)
        wait_for_diary(act, 2)
        cancel(service, "acme", run.run_id)
        trip_cancelled(executor)
        act.is_awake = True
        walking.result()
    assert now(service, run).status is Status.COMPLETED
    assert steps_of(service, run)["told"].status is Status.COMPLETED


@pytest.fixture
def served(service: Service, act: Act) -> Iterator[Serving]:
    again = build(Settings(home=service.config.home))
    again.step_types = service.step_types
    serving = serve.start(again, with_worker=True)
    yield serving
    act.is_awake = True
    serving.stop()


@pytest.mark.kills
def test_a_running_run_ends_soon_after_the_cancel(
    service: Service, pend: Pend, act: Act, served: Serving
) -> None:
    run = pend(
        SLEEP,
        "step_id: b, ps_type: test.act, note: never",
        'step_id: told, ps_type: test.act, trigger: on_completion, note: "{status}"',
    )
    wait_for_diary(act, 1)
    cancel(service, "acme", run.run_id)
    ended = wait_for(service, run, Status.CANCELLED, Status.FAILED, Status.COMPLETED)
    assert (ended.status, ended.error) == (Status.CANCELLED, "a: the run was cancelled")
    assert act.diary == ["sleep", "CANCELLED"]
    steps = {step_id: step.status for step_id, step in steps_of(service, run).items()}
    assert steps == {
        "a": Status.CANCELLED,
        "b": Status.SKIPPED,
        "told": Status.COMPLETED,
    }


@pytest.mark.kills
def test_a_cancel_ends_a_run_that_a_stop_waits_for(
    service: Service, pend: Pend, act: Act, served: Serving
) -> None:
    run = pend(SLEEP)
    wait_for_diary(act, 1)
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(served.stop)
        while not served.is_stopping():
            wait([stopping], 0.05)
        cancel(service, "acme", run.run_id)
        stopping.result()
    ended = now(service, run)
    assert (ended.status, ended.error) == (Status.CANCELLED, "a: the run was cancelled")


@pytest.mark.kills
@pytest.mark.postgres
def test_a_worker_stops_a_run_that_another_process_cancelled(
    request: pytest.FixtureRequest, tmp_path: Path, act: Act
) -> None:
    with ExitStack() as opened:
        for url in postgres_url(request):
            asking, working = (
                opened.enter_context(closing(build(_shared(tmp_path / name, url))))
                for name in ("api", "worker")
            )
            for part in (asking, working):
                part.step_types = {"test.act": act}
                part.library = Library(tmp_path / "configs", step_models(part.step_types))
            onboard(working, application("acme"))
            (tmp_path / "configs/test/engine/steps.yml").write_text(
                f'pipeline_id: "{{tenant_id}}-test"\ndescription: a test\nsteps:\n  - {{{SLEEP}}}\n'
            )
            run = launch(asking, LaunchRequest(tenant_id="acme", template="test/engine/steps")).run
            serving = serve.start(working, with_worker=True)
            opened.callback(serving.stop)
            opened.callback(setattr, act, "is_awake", True)
            wait_for(asking, run, Status.RUNNING)
            assert cancel(asking, "acme", run.run_id).cancel_requested
            ended = wait_for(asking, run, Status.CANCELLED, Status.FAILED, Status.COMPLETED)
            assert ended.status is Status.CANCELLED
            assert live_and_cancelled(asking, run) == (0, 1)
            opened.close()


def _shared(home: Path, url: str) -> Settings:
    return Settings(home=home, database_url=SecretStr(url), pepper=SecretStr("p" * 64))


def test_a_cancel_breaks_off_a_statement_that_runs(service: Service, pend: Pend, act: Act) -> None:
    run = pend(ENDLESS_LOAD)
    executor = Executor(service=service, worker="w")
    with ThreadPoolExecutor(1) as pool:
        walking = pool.submit(executor.walk, "acme", run.run_id)
        while not leases(service):
            wait([walking], 0.05)
        cancel(service, "acme", run.run_id)
        while not walking.done():
            trip_cancelled(executor)
            wait([walking], 0.05)
    ended = now(service, run)
    assert (ended.status, ended.error_code) == (Status.CANCELLED, "cancelled")
    check_nothing_is_held(service)


def test_a_step_out_of_time_breaks_off_its_statement(service: Service, walk: Pend) -> None:
    run = walk(f"{ENDLESS_LOAD}, timeout_minutes: 0.005")
    assert (run.status, run.error_code) == (Status.FAILED, "step_timeout")
    check_nothing_is_held(service)


def check_nothing_is_held(service: Service) -> None:
    """No lease, and no published load."""
    assert leases(service) == []
    assert costs.query(service, "acme", "SELECT load_id FROM x_meta_loads").rows == []


def leases(service: Service) -> Sequence[object]:
    with service.database.read() as tx:
        return tx.connection.execute(load_leases.select()).all()
