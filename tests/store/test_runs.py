from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convergence.errors import Conflict, NotFound
from convergence.model.run import MOVES, Run, RunFilter, Status, StepRun, Trigger
from convergence.store import fleet, runs
from convergence.store.database import Database, WriteTx
from tests.store.conftest import NOW, add_tenant, make_run

FULL = make_run(
    trigger=Trigger.RETRY,
    allow_shrink=True,
    parameters={"b": "1", "a": "ü"},
    snapshot={"z": [1, None, True], "a": {"ä": "{date}"}},
)
STEP = StepRun(
    run_id="r1",
    tenant_id="acme",
    step_id="extract",
    name="Extract",
    ps_type="gcp.bq_etl",
    index=0,
    status=Status.RUNNING,
    attempt=1,
    started_at=NOW,
)


@pytest.fixture
def run(tx: WriteTx) -> Run:
    runs.insert(tx, FULL)
    return FULL


def claimed(tx: WriteTx, *, worker: str = "w1") -> Run:
    run = runs.claim(tx, "acme", "r1", worker=worker, now=NOW)
    assert run is not None
    return run


def test_a_run_is_what_was_inserted(tx: WriteTx, run: Run) -> None:
    assert runs.get(tx, "acme", "r1") == run
    assert list(runs.get(tx, "acme", "r1").snapshot) == ["z", "a"]
    assert fleet.run_tenant(tx, "r1") == "acme"
    assert fleet.run_tenant(tx, "r2") is None


def test_a_neighbours_run_is_like_an_absent_one(tx: WriteTx, run: Run) -> None:
    for tenant_id, run_id in (("other", "r1"), ("acme", "r2")):
        with pytest.raises(NotFound) as caught:
            runs.get(tx, tenant_id, run_id)
        assert caught.value.code == "run_not_found"
        detail = f"Pipeline run {run_id} not found for tenant {tenant_id}"
        assert caught.value.detail == detail
    assert runs.claim(tx, "other", "r1", worker="w", now=NOW) is None
    with pytest.raises(NotFound):
        runs.request_cancel(tx, "other", "r1", now=NOW)


def test_the_same_work_is_live_once(tx: WriteTx, run: Run) -> None:
    with pytest.raises(Conflict) as caught:
        runs.insert(tx, replace(run, run_id="r2"))
    assert caught.value.code == "run_live"


def test_the_live_run_is_found_by_its_work(tx: WriteTx, run: Run) -> None:
    def live(tenant_id: str, parameter_hash: str) -> Run | None:
        return runs.live(
            tx,
            tenant_id,
            pipeline_id=run.pipeline_id,
            run_date=run.run_date,
            parameter_hash=parameter_hash,
        )

    assert live("acme", "h") == run
    assert live("acme", "i") is None
    assert live("other", "h") is None


@pytest.mark.parametrize("change", [{"parameter_hash": "i"}, {"run_date": date(2024, 11, 3)}])
def test_other_work_is_live_beside_it(tx: WriteTx, run: Run, change: dict[str, str]) -> None:
    runs.insert(tx, make_run("r2", **change))
    assert list(fleet.live_runs(tx)) == ["r1", "r2"]


def test_work_that_is_over_may_run_again(tx: WriteTx, run: Run) -> None:
    runs.finish(tx, "acme", "r1", attempt=0, status=Status.CANCELLED, now=NOW)
    runs.insert(tx, make_run("r2"))
    assert fleet.live_runs(tx) == {"r2": "acme"}


def test_each_claim_is_a_new_attempt_of_the_same_start(tx: WriteTx, run: Run) -> None:
    first = claimed(tx)
    assert (first.status, first.attempt, first.worker, first.started_at) == (
        Status.RUNNING,
        1,
        "w1",
        NOW,
    )
    taken_over = runs.claim(tx, "acme", "r1", worker="w2", now=NOW + timedelta(minutes=1))
    assert taken_over == replace(first, attempt=2, worker="w2")


def test_a_run_that_is_over_is_not_claimed(tx: WriteTx, run: Run) -> None:
    runs.finish(tx, "acme", "r1", attempt=0, status=Status.FAILED, now=NOW, error_code="c")
    assert runs.claim(tx, "acme", "r1", worker="w", now=NOW) is None


def test_a_run_ends_once(tx: WriteTx, run: Run) -> None:
    claimed(tx)
    later = NOW + timedelta(seconds=2)
    ended = runs.finish(
        tx, "acme", "r1", attempt=1, status=Status.FAILED, now=later, error_code="c", error="why"
    )
    assert ended is not None
    assert (ended.status, ended.ended_at, ended.error_code, ended.error) == (
        Status.FAILED,
        later,
        "c",
        "why",
    )
    assert ended.duration_ms == 2000
    assert runs.finish(tx, "acme", "r1", attempt=1, status=Status.COMPLETED, now=later) is None
    assert runs.get(tx, "acme", "r1") == ended


def test_an_older_attempt_cannot_end_a_run(tx: WriteTx, run: Run) -> None:
    claimed(tx)
    claimed(tx, worker="w2")
    assert runs.finish(tx, "acme", "r1", attempt=1, status=Status.COMPLETED, now=NOW) is None
    assert runs.get(tx, "acme", "r1").status is Status.RUNNING


@pytest.mark.parametrize("end", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
@pytest.mark.parametrize("origin", [Status.PENDING, Status.RUNNING])
def test_only_the_table_of_moves_is_followed(tx: WriteTx, origin: Status, end: Status) -> None:
    runs.insert(tx, make_run(status=origin))
    ended = runs.finish(tx, "acme", "r1", attempt=0, status=end, now=NOW)
    assert (ended is not None) == (end in MOVES[origin])


def test_running_is_no_end(tx: WriteTx, run: Run) -> None:
    with pytest.raises(ValueError, match="not an end"):
        runs.finish(tx, "acme", "r1", attempt=0, status=Status.RUNNING, now=NOW)


def test_a_cancel_is_asked_of_a_live_run_alone(tx: WriteTx, run: Run) -> None:
    for _ in range(2):
        assert runs.request_cancel(tx, "acme", "r1", now=NOW) == replace(run, cancel_requested=True)
    ended = runs.finish(tx, "acme", "r1", attempt=0, status=Status.CANCELLED, now=NOW)
    assert runs.request_cancel(tx, "acme", "r1", now=NOW + timedelta(hours=1)) == ended


def test_a_step_is_written_over_by_its_run(tx: WriteTx, run: Run) -> None:
    claimed(tx)
    assert runs.save_step(tx, STEP)
    done = replace(
        STEP, status=Status.COMPLETED, ended_at=NOW, rows=5, report={"sql": "SELECT 'ä'", "n": [1]}
    )
    notify = replace(STEP, step_id="notify", index=1, status=Status.SKIPPED, error="e")
    assert runs.save_step(tx, notify)
    assert runs.save_step(tx, done)
    assert runs.steps(tx, "acme", "r1") == [done, notify]
    assert runs.steps(tx, "other", "r1") == []


def test_a_step_of_an_older_attempt_is_refused(tx: WriteTx, run: Run) -> None:
    claimed(tx)
    runs.save_step(tx, STEP)
    claimed(tx)
    assert not runs.save_step(tx, replace(STEP, status=Status.COMPLETED))
    assert runs.steps(tx, "acme", "r1") == [STEP]


def test_a_step_of_a_run_that_is_not_there_is_refused(tx: WriteTx, run: Run) -> None:
    claimed(tx)
    assert not runs.save_step(tx, replace(STEP, run_id="r9"))
    assert not runs.save_step(tx, replace(STEP, tenant_id="other"))


STATUSES = (Status.PENDING, Status.COMPLETED, Status.FAILED, Status.CANCELLED)
made = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from(STATUSES), st.sampled_from("pq"), st.integers(1, 4)
    ),
    max_size=25,
)
filters = st.builds(
    RunFilter,
    statuses=st.frozensets(st.sampled_from(STATUSES)),
    pipeline_id=st.none() | st.sampled_from("pq"),
    date_from=st.none() | st.dates(date(2024, 11, 1), date(2024, 11, 4)),
    date_to=st.none() | st.dates(date(2024, 11, 1), date(2024, 11, 4)),
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(made=made, wanted=filters, limit=st.integers(1, 6))
def test_pages_together_are_the_whole_list(
    database: Database, made: list[tuple[int, Status, str, int]], wanted: RunFilter, limit: int
) -> None:
    with database.write() as tx:
        add_tenant(tx, "acme")
        for number, (age, status, pipeline_id, day) in enumerate(made):
            run = make_run(
                f"r{number:02}",
                created_at=NOW - timedelta(seconds=age),
                status=status,
                pipeline_id=pipeline_id,
                run_date=date(2024, 11, day),
                parameter_hash=str(number),
            )
            runs.insert(tx, run)
        expected = [run for run in _newest_first(tx) if _fits(run, wanted)]
        paged: list[Run] = []
        while page := runs.page(tx, "acme", wanted, limit=limit, before=_cursor(paged)):
            assert len(page) <= limit
            paged += page
        assert paged == expected
        tx.connection.rollback()


def _newest_first(tx: WriteTx) -> list[Run]:
    return sorted(
        runs.page(tx, "acme", RunFilter(), limit=99, before=None),
        key=lambda run: (run.created_at, run.run_id),
        reverse=True,
    )


def _fits(run: Run, wanted: RunFilter) -> bool:
    return (
        (not wanted.statuses or run.status in wanted.statuses)
        and wanted.pipeline_id in (None, run.pipeline_id)
        and (wanted.date_from is None or run.run_date >= wanted.date_from)
        and (wanted.date_to is None or run.run_date <= wanted.date_to)
    )


def _cursor(paged: list[Run]) -> tuple[datetime, str] | None:
    return (paged[-1].created_at, paged[-1].run_id) if paged else None


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (RunFilter(), "ix_pipeline_runs_page"),
        (RunFilter(date_from=date(2024, 11, 1)), "ix_pipeline_runs_page"),
        (RunFilter(statuses=frozenset(STATUSES)), "ix_pipeline_runs_page_status"),
        (RunFilter(pipeline_id="p"), "ix_pipeline_runs_page_pipeline_id_status"),
        (
            RunFilter(pipeline_id="p", statuses=frozenset({Status.FAILED})),
            "ix_pipeline_runs_page_pipeline_id_status",
        ),
    ],
)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_page_walks_an_index_and_sorts_nothing(
    tx: WriteTx, wanted: RunFilter, index: str
) -> None:
    asked: list[tuple[str, tuple[object, ...]]] = []
    sa.event.listen(
        tx.connection, "before_cursor_execute", lambda *call: asked.append((call[2], call[3]))
    )
    runs.page(tx, "acme", wanted, limit=50, before=(NOW, "r1"))
    for statement, values in asked.copy():
        plan = tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        steps = [row.detail for row in plan]
        assert len(steps) == 1
        assert f"INDEX {index} (" in steps[0]
        assert "created_at" in steps[0]
