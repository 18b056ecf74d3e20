"""A grant that changes is followed by every day, whatever else happens to the run."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from convergence.engine.service import Service
from convergence.errors import StepFailed
from convergence.model.run import Run, Status
from convergence.model.source import Grant, Kind, Source
from convergence.store import restatements, sources
from convergence.store.restatements import Wanted
from tests.conftest import EXPORT
from tests.engine.test_sync import OLD, YOUNG, by_day, run_sync

Export = Callable[..., Path]
AUDIT = "gcp/cost/cost_audit"


def grant(service: Service, folder: Path, *project_ids: str) -> None:
    """Let acme see these projects of the export, or all of it."""
    source = Source(
        table=EXPORT,
        files=str(folder / "*.csv"),
        kind=Kind.GCP_STANDARD,
        grants=(Grant(tenant_id="acme", project_ids=project_ids),),
    )
    with service.database.write() as tx:
        sources.put(tx, source, now=service.clock.now())


def two_projects(export: Export) -> Path:
    """A day of each project, long before; the folder."""
    path = export((OLD, "1", "", "202410"), (YOUNG, "2", "", "202411"))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].replace(",proj,", ",other,")]) + "\n")
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path.parent


def test_a_day_that_is_wholly_hidden_now_is_emptied(service: Service, export: Export) -> None:
    folder = two_projects(export)
    run_sync(service)
    assert [*by_day(service)] == [OLD, YOUNG]
    grant(service, folder, "proj")
    run = run_sync(service)
    assert run.status is Status.COMPLETED, run.error
    assert [*by_day(service)] == [OLD]
    grant(service, folder)
    assert run_sync(service).status is Status.COMPLETED
    assert [*by_day(service)] == [OLD, YOUNG]


def test_a_day_loaded_alone_is_emptied_too(service: Service, export: Export) -> None:
    folder = two_projects(export)
    run_sync(service)
    grant(service, folder, "proj")
    run = run_sync(service, "gcp/cost/cost_billing", YOUNG)
    assert run.status is Status.COMPLETED, run.error
    assert [*by_day(service)] == [OLD]


def failing_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A sync in which no day can be staged."""

    def fail(*_: object) -> None:
        raise StepFailed("the disk is full", code="disk_full")

    with monkeypatch.context() as patch:
        patch.setattr(service.warehouse, "stage", fail)
        patch.setattr(service.warehouse, "stage_together", fail)
        return run_sync(service)


def test_a_wider_grant_is_followed_although_a_run_failed(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = two_projects(export)
    grant(service, folder, "proj")
    run_sync(service)
    grant(service, folder)
    assert failing_once(service, monkeypatch).status is Status.FAILED
    assert [*by_day(service)] == [OLD]
    run = run_sync(service)
    assert run.status is Status.COMPLETED, run.error
    assert [*by_day(service)] == [OLD, YOUNG]


def test_a_wider_grant_is_followed_beyond_the_month_of_an_audit(
    service: Service, export: Export
) -> None:
    folder = two_projects(export)
    grant(service, folder, "proj")
    run_sync(service)
    grant(service, folder)
    assert run_sync(service, AUDIT, "2024-10-31").status is Status.COMPLETED
    assert [*by_day(service)] == [OLD]
    assert run_sync(service).status is Status.COMPLETED
    assert [*by_day(service)] == [OLD, YOUNG]


def test_days_that_failed_at_first_are_no_restatement_later(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_projects(export)
    assert failing_once(service, monkeypatch).status is Status.FAILED
    assert run_sync(service).status is Status.COMPLETED
    assert [*by_day(service)] == [OLD, YOUNG]
    with service.database.read() as tx:
        assert restatements.page(tx, "acme", Wanted(), limit=10) == []


def test_an_audit_reads_the_files_of_its_month_alone(
    service: Service, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, day in enumerate((OLD, YOUNG)):
        path = export((day, "1", "", "202410"), name=f"{number}.csv")
        os.utime(path, (1_600_000_000, 1_600_000_000))
    run_sync(service)
    read: list[str] = []
    survey = service.warehouse.survey

    def looking(dataset, source, files, *rest):  # type: ignore[no-untyped-def]
        read.extend(Path(file.path).name for file in files)
        return survey(dataset, source, files, *rest)

    monkeypatch.setattr(service.warehouse, "survey", looking)
    assert run_sync(service, AUDIT, "2024-11-30").status is Status.COMPLETED
    assert read == ["1.csv"]
