"""Onboarding: all of a tenant, or nothing of it."""

from dataclasses import replace

import pytest

from convergence.engine.access import identify
from convergence.engine.onboard import Onboarded, check_application, onboard
from convergence.engine.service import Service
from convergence.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from convergence.model.tenant import TenantStatus
from convergence.store import tenants, usage
from tests.conftest import application
from tests.fakes import FakeClock


def test_onboarding_makes_profile_key_usage_and_tables(service: Service, tenant: Onboarded) -> None:
    assert tenant.dataset_created
    assert {"billing_cost_daily", "x_meta_pipeline_runs"} <= set(tenant.tables_created)
    with service.database.read() as tx:
        assert tenants.get(tx, "acme") == tenant.tenant
        assert usage.row(tx, "acme", service.clock.now().date()) is not None


def test_the_new_key_opens_the_tenant_alone(service: Service, tenant: Onboarded) -> None:
    caller = identify(service, key=tenant.api_key, admin_key=None)
    assert caller.tenant_id == "acme"
    with pytest.raises(Forbidden):
        caller.require_operator()


@pytest.mark.parametrize("key", ["", "cdp_", "nonsense", None])
def test_a_bad_key_is_refused(service: Service, tenant: Onboarded, key: str | None) -> None:
    with pytest.raises(Unauthenticated):
        identify(service, key=key, admin_key=None)


def test_a_key_with_another_secret_is_refused(service: Service, tenant: Onboarded) -> None:
    other = onboard(service, application("globex")).api_key
    head, _, tail = tenant.api_key.rpartition("_")
    with pytest.raises(Unauthenticated):
        identify(service, key=f"{head}_{other.rpartition('_')[2]}", admin_key=None)
    assert identify(service, key=f"{head}_{tail}", admin_key=None).tenant_id == "acme"


def test_an_expired_key_is_refused(service: Service, tenant: Onboarded, clock: FakeClock) -> None:
    clock.advance(days=400)
    with pytest.raises(Unauthenticated, match="expired"):
        identify(service, key=tenant.api_key, admin_key=None)


def test_the_key_of_a_suspended_tenant_opens_nothing(service: Service, tenant: Onboarded) -> None:
    with service.database.write() as tx:
        tenants.update(tx, "acme", status=TenantStatus.SUSPENDED, now=service.clock.now())
    with pytest.raises(Forbidden):
        identify(service, key=tenant.api_key, admin_key=None)


def test_the_operator_has_a_key_of_its_own(service: Service) -> None:
    key = service.secrets.admin_key
    assert identify(service, key=None, admin_key=key).is_operator
    with pytest.raises(Forbidden):
        identify(service, key=None, admin_key=key + "x")


def test_a_second_tenant_of_the_same_name_is_refused(service: Service, tenant: Onboarded) -> None:
    with pytest.raises(Conflict):
        onboard(service, application("acme"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenant_id": "A b"},
        {"tenant_id": "tenants"},
        {"company_name": " "},
        {"admin_email": "a@b\r\nBcc: evil@example.com"},
        {"subscription_plan": "GOLD"},
    ],
)
def test_a_wrong_application_leaves_nothing(service: Service, wrong: dict[str, str]) -> None:
    asked = replace(application("acme"), **wrong)
    with pytest.raises(Invalid):
        onboard(service, asked)
    assert not all(check.passed for check in check_application(service, asked))
    assert list((service.config.home / "warehouse").glob("acme*")) == []


def test_a_dry_run_changes_nothing(service: Service) -> None:
    assert all(check.passed for check in check_application(service, application("acme")))
    with service.database.read() as tx, pytest.raises(NotFound):
        tenants.get(tx, "acme")
