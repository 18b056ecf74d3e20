"""Costs that would count twice: of an account's day from two sources, of a file and its copy."""

import shutil
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from convergence.engine import reconcile
from convergence.engine.service import Service
from convergence.library import Library
from convergence.model.run import Status
from convergence.model.source import Grant, Kind, Source
from convergence.steps.base import step_models
from convergence.store import events, loads, sources
from convergence.warehouse.question import Result
from convergence.warehouse.staged import Staged
from tests.conftest import EXPORT, grant_export
from tests.engine.test_sync import OLD, YOUNG, by_day, run_sync

Export = Callable[..., Path]


def test_costs_that_another_source_tells_are_refused_until_it_is_taken_out(
    service: Service, export: Export, tmp_path: Path
) -> None:
    one = export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    other = tmp_path / "detailed"
    other.mkdir()
    shutil.copy(one, other)
    grant_export(service, other / "*.csv", "acme", f"{EXPORT}_detailed")
    assert run_sync(service, source=EXPORT).status is Status.COMPLETED
    loaded = by_day(service)
    run = run_sync(service, source=f"{EXPORT}_detailed")
    assert (run.status, run.error_code) == (Status.FAILED, "counted_twice")
    said = f"account 01AB-CD has rows of {EXPORT}, too, on <day>"
    assert f"{OLD}, {YOUNG}: {EXPORT}_detailed: {said}" in (run.error or "")
    assert by_day(service) == loaded

    with service.database.write() as tx:
        hidden = Grant(tenant_id="acme", billing_account_ids=("none",))
        files, kind = str(one.with_name("*.csv")), Kind.GCP_STANDARD
        first = Source(table=EXPORT, files=files, kind=kind, grants=(hidden,))
        sources.put(tx, first, now=service.clock.now())
    assert run_sync(service, source=EXPORT).status is Status.COMPLETED
    run = run_sync(service, source=f"{EXPORT}_detailed")
    assert run.status is Status.COMPLETED, run.error
    assert {day: sums[:2] for day, sums in by_day(service).items()} == {
        day: sums[:2] for day, sums in loaded.items()
    }


def test_a_source_whose_files_are_gone_is_taken_out_too(
    service: Service, export: Export, tmp_path: Path
) -> None:
    old = export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    shutil.copytree(old.parent, tmp_path / "other")
    grant_export(service, tmp_path / "other/*.csv", "acme", f"{EXPORT}_other")
    assert run_sync(service, source=EXPORT).status is Status.COMPLETED
    loaded = by_day(service)
    shutil.rmtree(old.parent)
    assert run_sync(service, source=f"{EXPORT}_other").error_code == "counted_twice"

    with service.database.write() as tx:
        hidden = Grant(tenant_id="acme", billing_account_ids=("none",))
        files, kind = str(old.with_name("*.csv")), Kind.AUTO
        first = Source(table=EXPORT, files=files, kind=kind, grants=(hidden,))
        sources.put(tx, first, now=service.clock.now())
    for _ in range(2):
        run = run_sync(service, source=EXPORT)
        assert run.status is Status.COMPLETED, run.error
        assert by_day(service) == {}
    run = run_sync(service, source=f"{EXPORT}_other")
    assert run.status is Status.COMPLETED, run.error
    assert {day: held[:2] for day, held in by_day(service).items()} == {
        day: held[:2] for day, held in loaded.items()
    }


class Killed(BaseException):
    """The process is gone, as far as a run can tell."""


def test_costs_are_refused_that_a_load_brought_whose_process_died_before_the_store_knew(
    service: Service, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = export((OLD, "1", "", "202410"))
    shutil.copytree(one.parent, tmp_path / "other")
    grant_export(service, tmp_path / "other/*.csv", "acme", f"{EXPORT}_other")

    def die(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(loads, "publish", die)
    with pytest.raises(Killed):
        run_sync(service, "gcp/cost/cost_billing", OLD, source=EXPORT)
    monkeypatch.undo()
    run = run_sync(service, "gcp/cost/cost_billing", OLD, source=f"{EXPORT}_other")
    assert (run.status, run.error_code) == (Status.FAILED, "counted_twice")
    assert by_day(service)[OLD][:2] == (1, Decimal(1))


def test_days_that_are_loaded_together_are_asked_together_for_the_accounts_of_others(
    service: Service, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    other = tmp_path / "other"
    shutil.copytree(one.parent, other)
    (other / one.name).write_text(one.read_text().replace("01AB-CD", "99XX-YY"))
    grant_export(service, other / "*.csv", "acme", f"{EXPORT}_other")
    assert run_sync(service, source=EXPORT).status is Status.COMPLETED
    asked: list[str] = []
    look = service.warehouse.look

    def looking(staged: Staged, sql: str, *rest: Any, **named: Any) -> Result:  # noqa: ANN401 - as they came
        if sql.startswith("SELECT DISTINCT"):
            asked.append(sql)
        return look(staged, sql, *rest, **named)

    monkeypatch.setattr(service.warehouse, "look", looking)
    run = run_sync(service, source=f"{EXPORT}_other")
    assert run.status is Status.COMPLETED, run.error
    assert len(asked) == 1
    assert {day: held[:2] for day, held in by_day(service).items()} == {
        OLD: (2, Decimal(2)),
        YOUNG: (2, Decimal(4)),
    }


def test_a_copy_of_a_file_is_told_of_by_a_load_of_one_day(service: Service, export: Export) -> None:
    one = export((OLD, "1", "", "202410"))
    shutil.copy(one, one.with_name("a (1).csv"))
    run = run_sync(service, "gcp/cost/cost_billing", OLD)
    with service.database.read() as tx:
        found = events.page(tx, "acme", run.run_id, after=0, limit=100)
    (said,) = (event.message for event in found if "bytes" in event.message)
    assert "a.csv has the very bytes of a (1).csv" in said


def test_a_step_may_load_what_another_source_tells_too(
    service: Service, export: Export, tmp_path: Path
) -> None:
    shutil.copytree(export((OLD, "1", "", "202410")).parent, tmp_path / "other")
    grant_export(service, tmp_path / "other/*.csv", "acme", f"{EXPORT}_other")
    assert run_sync(service, source=EXPORT).status is Status.COMPLETED
    configs = tmp_path / "configs"
    shutil.copytree(service.library.directory, configs)
    own = configs / "gcp/cost/cost_sync.yml"
    own.write_text(
        own.read_text().replace("    source:\n", "    allow_overlap: true\n    source:\n")
    )
    service.library = Library(configs, step_models(service.step_types))
    assert reconcile.shared_accounts(service, "acme") == []
    run = run_sync(service, source=f"{EXPORT}_other")
    assert run.status is Status.COMPLETED, run.error
    (shared,) = reconcile.shared_accounts(service, "acme")
    assert (shared.billing_account_id, shared.sources) == ("01AB-CD", (EXPORT, f"{EXPORT}_other"))
    assert (shared.days, shared.first, shared.last) == (1, *[date.fromisoformat(OLD)] * 2)
    with service.database.read() as tx:
        found = events.page(tx, "acme", run.run_id, after=0, limit=100)
    assert any("if both export the same costs, they count twice" in e.message for e in found)
    assert by_day(service)[OLD][:2] == (2, Decimal(2))
