"""Admission: one transaction that checks, stores, counts and enqueues."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from convergence.engine import administer
from convergence.engine.deliver import deliver
from convergence.engine.launch import launch
from convergence.engine.onboard import Onboarded, onboard
from convergence.engine.plan import plan
from convergence.engine.service import Service
from convergence.errors import Forbidden, Invalid, NotFound, QuotaExceeded
from convergence.model.run import LaunchRequest, Status
from convergence.model.source import Kind
from convergence.model.tenant import TenantStatus
from convergence.store import fleet, runs, sources, tenants, usage
from tests.conftest import EXPORT, application, grant_export
from tests.fakes import FakeClock, FakeMailer

REQUEST = LaunchRequest(
    tenant_id="acme", template="gcp/cost/cost_billing", run_date=date(2024, 11, 1)
)
Export = Callable[..., Path]


def test_a_launched_run_is_pending_counted_and_enqueued(service: Service, export: Export) -> None:
    launched = launch(service, REQUEST)
    assert launched.is_new
    assert launched.run.status is Status.PENDING
    assert launched.run.pipeline_id == "acme-gcp-cost-billing"
    with service.database.read() as tx:
        assert runs.get(tx, "acme", launched.run.run_id) == launched.run
        row = usage.row(tx, "acme", launched.run.created_at.date())
    assert row is not None
    assert (row.pipelines_run_today, row.concurrent_pipelines_running) == (1, 1)


def test_second_launch_of_same_day_returns_the_live_run(service: Service, export: Export) -> None:
    first = launch(service, REQUEST)
    second = launch(service, REQUEST)
    assert not second.is_new
    assert second.run.run_id == first.run.run_id


def test_twenty_callers_at_once_get_one_run(service: Service, export: Export) -> None:
    with ThreadPoolExecutor(20) as pool:
        launched = list(pool.map(lambda _: launch(service, REQUEST), range(20)))
    assert len({each.run.run_id for each in launched}) == 1
    assert sum(each.is_new for each in launched) == 1


def test_a_run_without_a_date_is_for_yesterday(service: Service, export: Export) -> None:
    run = launch(service, replace(REQUEST, run_date=None)).run
    assert run.run_date == date(2024, 11, 4)


def test_the_seventh_run_of_a_starter_day_is_refused(
    service: Service, clock: FakeClock, tmp_path: Path
) -> None:
    onboard(service, application("small"))
    grant_export(service, tmp_path / "*.csv", "small")
    for day in range(1, 7):
        run = _launch_small(service, day)
        _finish(service, run)
    with pytest.raises(QuotaExceeded) as refused:
        _launch_small(service, 7)
    assert refused.value.code == "quota_exceeded.daily"
    assert (refused.value.current, refused.value.limit) == (6, 6)
    with service.database.read() as tx:
        row = usage.row(tx, "small", clock.now().date())
    assert row is not None
    assert (row.pipelines_run_today, row.quota_exceeded) == (6, True)
    assert "anew at 2024-11-06 00:00 UTC" in refused.value.hint
    assert "cdp quota set TENANT --daily N" in refused.value.hint
    administer.set_limits(service, "small", {"daily_limit": 7})
    with service.database.read() as tx:
        raised = usage.row(tx, "small", clock.now().date())
    assert raised is not None
    assert (raised.quota_exceeded, raised.quota_exceeded_at) == (False, row.quota_exceeded_at)


def test_a_second_run_at_once_is_refused_on_starter(service: Service, tmp_path: Path) -> None:
    onboard(service, application("small"))
    grant_export(service, tmp_path / "*.csv", "small")
    _launch_small(service, 1)
    with pytest.raises(QuotaExceeded) as refused:
        _launch_small(service, 2)
    assert refused.value.code == "quota_exceeded.concurrent"


def test_callers_at_once_never_pass_the_limit(service: Service, export: Export) -> None:
    def one(day: int) -> bool:
        try:
            launch(service, replace(REQUEST, run_date=date(2024, 10, day)))
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        admitted = sum(pool.map(one, range(1, 31)))
    assert admitted == 10


def test_a_day_that_is_nearly_used_up_warns_once(service: Service, tmp_path: Path) -> None:
    service.mailer = mailer = FakeMailer()
    onboard(service, application("small"))
    grant_export(service, tmp_path / "*.csv", "small")
    for day in range(1, 7):
        _finish(service, _launch_small(service, day))
    assert deliver(service) == 1
    assert deliver(service) == 0
    assert [mail.subject for mail in mailer.sent] == ["[WARNING] small: 5 of 6 runs of today used"]


def test_values_that_are_the_same_in_the_end_ask_for_the_same_run(
    service: Service, export: Export
) -> None:
    first = launch(service, REQUEST)
    given = {"destination_table": "billing_cost_daily"}
    assert launch(service, replace(REQUEST, variables=given)).run.run_id == first.run.run_id
    other = launch(service, replace(REQUEST, variables={"destination_table": "other"}))
    assert other.is_new


def test_an_unknown_template_is_not_found(service: Service, tenant: Onboarded) -> None:
    with pytest.raises(NotFound, match="Template not found"):
        launch(service, replace(REQUEST, template="gcp/cost/nothing"))


def test_an_unknown_tenant_is_not_found(service: Service) -> None:
    with pytest.raises(NotFound):
        launch(service, REQUEST)


def test_a_suspended_tenant_may_not_launch(service: Service, export: Export) -> None:
    with service.database.write() as tx:
        tenants.update(tx, "acme", status=TenantStatus.SUSPENDED, now=service.clock.now())
    with pytest.raises(Forbidden):
        launch(service, REQUEST)


def test_a_tenant_without_a_source_is_told_how_to_add_one(
    service: Service, tenant: Onboarded
) -> None:
    with pytest.raises(Invalid) as refused:
        launch(service, REQUEST)
    assert refused.value.code == "source_not_found"
    assert "sources add" in refused.value.hint


def test_a_tenant_with_two_sources_must_name_one(service: Service, export: Export) -> None:
    grant_export(service, Path("/tmp/other/*.csv"), "acme", "billing.exports.other")  # noqa: S108 - only a name
    with pytest.raises(Invalid) as refused:
        launch(service, REQUEST)
    assert refused.value.code == "source_ambiguous"
    named = replace(REQUEST, variables={"source_billing_table": "billing.exports.other"})
    assert launch(service, named).run.parameters["source_billing_table"] == "billing.exports.other"


@pytest.mark.parametrize("table", ["billing.exports.unknown", "billing.exports.foreign"])
def test_a_source_that_is_not_the_tenants_is_refused_at_launch(
    service: Service, export: Export, table: str
) -> None:
    onboard(service, application("other"))
    grant_export(service, Path("/tmp/other/*.csv"), "other", "billing.exports.foreign")  # noqa: S108 - only a name
    named = replace(REQUEST, variables={"source_billing_table": table})
    with pytest.raises(Invalid, match=f"{table}.*is no source of this tenant") as refused:
        launch(service, named)
    assert refused.value.code == "source_not_found"
    assert refused.value.hint == f"its sources are: {EXPORT}"
    assert [each.code for each in plan(service, named).obstacles] == ["source_not_found"]
    with service.database.write() as tx:
        tenants.set_variable(tx, "acme", "source_billing_table", table, now=service.clock.now())
    with pytest.raises(Invalid, match="is no source"):
        launch(service, REQUEST)


def test_a_source_of_unsaid_kind_is_told_by_its_files(service: Service, export: Export) -> None:
    export(("2024-11-01", "1", "", "202411"))
    with service.database.write() as tx:
        said = fleet.source(tx, EXPORT)
        assert said is not None
        sources.put(tx, replace(said, kind=Kind.AUTO), now=service.clock.now())
    assert launch(service, REQUEST).run.parameters["source_billing_table"] == EXPORT


@pytest.mark.parametrize(
    ("variables", "code"),
    [({"nonsense": "1"}, "undeclared_variable"), ({"tenant_id": "globex"}, "builtin_variable")],
)
def test_foreign_names_are_refused(
    service: Service, export: Export, variables: dict[str, str], code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        launch(service, replace(REQUEST, variables=variables))
    assert refused.value.code == code


def _launch_small(service: Service, day: int) -> str:
    request = replace(REQUEST, tenant_id="small", run_date=date(2024, 10, day))
    return launch(service, request).run.run_id


def _finish(service: Service, run_id: str) -> None:
    now = service.clock.now()
    with service.database.write() as tx:
        runs.finish(tx, "small", run_id, attempt=0, status=Status.CANCELLED, now=now)
        usage.record_finish(tx, "small", now.date(), Status.CANCELLED, now=now)
