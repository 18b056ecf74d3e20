"""The rules of a load: published exactly once, equal to its source, or not at all."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from convergence.engine import costs
from convergence.engine.execute import Executor
from convergence.engine.hold import EVERY_SOURCE
from convergence.engine.launch import launch
from convergence.engine.service import Service
from convergence.library import Library
from convergence.model.load import LoadKey, LoadStatus
from convergence.model.run import LaunchRequest, Run, Status
from convergence.model.tenant import WarehouseKind
from convergence.steps.base import step_models
from convergence.store import fleet, loads, moves, runs, usage
from tests.conftest import EXPORT
from tests.engine.conftest import now

Export = Callable[..., Path]
DAY = "2024-11-01"
KEY = LoadKey(table="billing_cost_daily", day=date(2024, 11, 1), source=EXPORT)


def run_day(service: Service, day: str = DAY, **more: bool) -> Run:
    """Launch the day and walk it to its end in this thread."""
    request = LaunchRequest(
        tenant_id="acme",
        template="gcp/cost/cost_billing",
        run_date=date.fromisoformat(day),
        **more,  # type: ignore[arg-type]  # allow_shrink alone
    )
    launched = launch(service, request)
    Executor(service=service, worker="test").walk("acme", launched.run.run_id)
    with service.database.read() as tx:
        return runs.get(tx, "acme", launched.run.run_id)


def loaded(service: Service) -> tuple[int, Decimal, Decimal]:
    sql = "SELECT COUNT(*), SUM(cost), SUM(credits_total) FROM billing_cost_daily"
    ((rows, cost, credit),) = costs.query(service, "acme", sql).rows
    return rows, cost, credit


def test_a_day_is_loaded_with_its_proof(service: Service, export: Export) -> None:
    export((DAY, "1.5", "-0.25", "202411"), (DAY, "2", "", "202411"), ("2024-11-02", "9", "", "x"))
    run = run_day(service)
    assert run.status is Status.COMPLETED
    assert loaded(service) == (2, Decimal("3.5"), Decimal("-0.25"))
    with service.database.read() as tx:
        proof = loads.published(tx, "acme", KEY)
    assert proof is not None
    assert proof.totals == proof.source_totals


def test_a_day_loaded_twice_has_the_same_rows(service: Service, export: Export) -> None:
    export((DAY, "1.5", "-0.25", "202411"), (DAY, "1.5", "-0.25", "202411"))
    run_day(service)
    before = loaded(service)
    assert run_day(service).status is Status.COMPLETED
    assert loaded(service) == before == (2, Decimal(3), Decimal("-0.5"))


def test_what_another_source_left_open_is_closed_where_its_rows_are_copied(
    service: Service, export: Export
) -> None:
    export((DAY, "1", "", "202411"))
    run = run_day(service)
    service.config = replace(service.config, warehouse=WarehouseKind.BIGQUERY)
    other = replace(KEY, source="local.billing.other")
    now = service.clock.now()
    take = partial(loads.acquire, run_id=run.run_id, attempt=1, now=now, seconds=0)
    with service.database.write() as tx:
        moves.move(tx, "acme", WarehouseKind.BIGQUERY, now=now)
        assert take(tx, "acme", other)
        left = replace(loads.of_run(tx, "acme", run.run_id, limit=1)[0], key=other, load_id="left")
        loads.stage(tx, left)
        assert take(tx, "acme", replace(KEY, source=EVERY_SOURCE))
    assert run_day(service).status is Status.COMPLETED
    with service.database.read() as tx:
        assert loads.get(tx, "acme", "left").status is LoadStatus.DISCARDED


def test_a_late_file_is_found_by_the_next_load(service: Service, export: Export) -> None:
    export((DAY, "1", "", "202411"))
    run_day(service)
    export((DAY, "0.5", "", "202412"), name="late.csv")
    run_day(service)
    assert loaded(service) == (2, Decimal("1.5"), Decimal(0))


def test_no_file_at_all_fails_as_source_missing(service: Service, export: Export) -> None:
    run = run_day(service)
    assert (run.status, run.error_code) == (Status.FAILED, "source_missing")
    assert EXPORT in (run.error or "")


@pytest.mark.parametrize(
    ("query", "end"),
    [
        (
            "SELECT cost FROM `billing.exports.gcp_billing_export_v1_TEST`",
            (Status.FAILED, "source_missing"),
        ),
        ("SELECT 1 AS one", (Status.COMPLETED, None)),
    ],
)
def test_a_table_of_ones_own_needs_its_source_too(
    service: Service, export: Export, tmp_path: Path, query: str, end: tuple[Status, str | None]
) -> None:
    file = tmp_path / "configs/gcp/cost/cost_billing.yml"
    file.parent.mkdir(parents=True)
    file.write_text(
        'pipeline_id: "{tenant_id}-own"\ndescription: a test\nsteps:\n'
        "  - step_id: a\n    ps_type: gcp.bq_etl\n"
        f'    source: {{query: "{query}"}}\n    destination: {{table: own}}\n'
    )
    service.library = Library(tmp_path / "configs", step_models(service.step_types))
    run = run_day(service)
    assert (run.status, run.error_code) == end


def test_a_day_without_rows_is_completed_with_none(service: Service, export: Export) -> None:
    export(("2024-11-02", "1", "", "202411"))
    assert run_day(service).status is Status.COMPLETED
    assert loaded(service)[0] == 0


def test_a_day_that_loses_all_rows_fails_and_keeps_them(service: Service, export: Export) -> None:
    export((DAY, "1", "", "202411"))
    run_day(service)
    export(("2024-11-02", "1", "", "202411"))
    run = run_day(service)
    assert (run.status, run.error_code) == (Status.FAILED, "source_shrank")
    assert loaded(service) == (1, Decimal(1), Decimal(0))


def test_a_file_that_vanished_fails_and_is_named(service: Service, export: Export) -> None:
    export((DAY, "1", "", "202411"))
    gone = export((DAY, "2", "", "202411"), name="b.csv")
    run_day(service)
    gone.unlink()
    run = run_day(service)
    assert (run.status, run.error_code) == (Status.FAILED, "source_shrank")
    assert "has lost b.csv (1 row of 2024-11-01); lost would be service" in (run.error or "")
    assert loaded(service)[0] == 2


def test_a_renamed_file_is_no_loss(service: Service, export: Export) -> None:
    path = export((DAY, "1", "", "202411"))
    run_day(service)
    path.rename(path.with_name("c.csv"))
    assert run_day(service).status is Status.COMPLETED


def test_a_loss_is_accepted_when_asked_for(service: Service, export: Export) -> None:
    export((DAY, "1", "", "202411"))
    gone = export((DAY, "2", "", "202411"), name="b.csv")
    run_day(service)
    gone.unlink()
    assert run_day(service, allow_shrink=True).status is Status.COMPLETED
    assert loaded(service) == (1, Decimal(1), Decimal(0))


def test_a_file_that_changed_is_loaded_anew(service: Service, export: Export) -> None:
    export((DAY, "1", "", "202411"))
    run_day(service)
    export((DAY, "0.7", "", "202411"))
    run_day(service)
    assert loaded(service) == (1, Decimal("0.7"), Decimal(0))


def test_an_older_sight_of_the_source_is_refused(service: Service, export: Export) -> None:
    path = export((DAY, "2", "", "202411"))
    run_day(service)
    export((DAY, "1", "", "202411"))
    os.utime(path, (1, 1))
    run = run_day(service)
    assert (run.status, run.error_code) == (Status.FAILED, "source_older")
    assert loaded(service) == (1, Decimal(2), Decimal(0))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "a.csv"),
        (b"cost,currency\n1,EUR\n", "a.csv"),
        (b"\x1f\x8b\x08\x00broken", "a.csv"),
    ],
)
def test_a_broken_file_fails_the_day_and_is_named(
    service: Service, export: Export, content: bytes, word: str
) -> None:
    export((DAY, "1", "", "202411")).write_bytes(content)
    run = run_day(service)
    assert run.status is Status.FAILED
    assert word in (run.error or "")


def test_a_cost_that_is_no_number_fails_the_day(service: Service, export: Export) -> None:
    export((DAY, "1", "", "202411"))
    run_day(service)
    export((DAY, "twelve", "", "202411"))
    run = run_day(service)
    assert run.status is Status.FAILED
    assert "a.csv" in (run.error or "")
    assert loaded(service) == (1, Decimal(1), Decimal(0))


def test_a_day_of_two_exports_in_one_source_is_refused_and_the_file_named(
    service: Service, export: Export
) -> None:
    export((DAY, "1", "", "202411"))
    assert run_day(service).status is Status.COMPLETED
    other = export((DAY, "2", "", "202411"), name="other.csv")
    other.write_text(other.read_text().replace("01AB-CD", "99XX-YY"))
    run = run_day(service)
    assert (run.status, run.error_code) == (Status.FAILED, "mixed_accounts")
    assert "other.csv holds 99XX-YY: 1 rows of 2024-11-01" in (run.error or "")
    assert loaded(service)[0] == 1


def test_loads_of_one_day_take_turns(service: Service, export: Export, tmp_path: Path) -> None:
    export((DAY, "1.5", "", "202411"), (DAY, "2", "", "202411"))
    configs = tmp_path / "configs"
    shutil.copytree(service.library.directory, configs)
    text = (configs / "gcp/cost/cost_billing.yml").read_text()
    other = text.replace("-gcp-cost-billing", "-again")
    (configs / "gcp/cost/again.yml").write_text(other)
    service.library = Library(configs, step_models(service.step_types))
    refs = ["gcp/cost/cost_billing", "gcp/cost/again"]
    started = [
        launch(service, LaunchRequest(tenant_id="acme", template=ref, run_date=KEY.day)).run
        for ref in refs
    ]
    with ThreadPoolExecutor(2) as pool:
        walks = [
            pool.submit(Executor(service=service, worker=run.run_id).walk, "acme", run.run_id)
            for run in started
        ]
    assert [walk.result() for walk in walks] == [None, None]
    assert {now(service, run).status for run in started} == {Status.COMPLETED}
    assert loaded(service) == (2, Decimal("3.5"), Decimal(0))


def test_a_load_waits_for_the_one_under_way_until_its_time_is_over(
    service: Service, export: Export
) -> None:
    export((DAY, "1", "", "202411"))
    holder = launch(service, LaunchRequest(tenant_id="acme", template="gcp/cost/cost_billing")).run
    with service.database.write() as tx:
        at = service.clock.now()
        loads.acquire(tx, "acme", KEY, run_id=holder.run_id, attempt=1, now=at, seconds=0.01)
    assert run_day(service).status is Status.COMPLETED


def test_a_finished_run_holds_no_lease(service: Service, export: Export) -> None:
    run = run_day(service)
    with service.database.read() as tx:
        assert fleet.leased_runs(tx) == frozenset()
    assert run.status is Status.FAILED


def test_what_a_tenant_stores_is_measured_after_a_load(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    export((DAY, "1", "", "202411"))
    monkeypatch.setattr(service.warehouse, "storage_bytes", lambda _: 12_345_678_901)
    run = run_day(service)
    with service.database.read() as tx:
        row = usage.row(tx, "acme", run.created_at.date())
    assert row is not None
    assert row.total_storage_used_gb == Decimal("12.35")
