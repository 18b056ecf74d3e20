from dataclasses import replace

import pytest

from convergence.errors import Conflict, NotFound
from convergence.model.tenant import PLAN_LIMITS, Plan, TenantStatus, Terms
from convergence.store import fleet, tenants, usage
from convergence.store.database import WriteTx
from tests.store.conftest import DAY, NOW, add_tenant, make_tenant


def test_a_tenant_is_what_was_created(tx: WriteTx) -> None:
    assert tenants.get(tx, "acme") == make_tenant("acme")
    assert tenants.lock(tx, "acme") == make_tenant("acme")
    assert tenants.limits(tx, "acme") == PLAN_LIMITS[Plan.SCALE]


def test_the_terms_of_a_run_come_in_one_question(tx: WriteTx) -> None:
    terms = Terms(tenant=make_tenant("acme"), limits=tenants.limits(tx, "acme"), variables={})
    assert tenants.lock_for_terms(tx, "acme") == terms
    for name in ("table", "admin_email"):
        tenants.set_variable(tx, "acme", name, f"the {name}", now=NOW)
    stored = {"admin_email": "the admin_email", "table": "the table"}
    assert tenants.lock_for_terms(tx, "acme") == replace(terms, variables=stored)


def test_a_tenant_is_created_once(tx: WriteTx) -> None:
    with pytest.raises(Conflict) as caught:
        add_tenant(tx, "acme")
    assert caught.value.code == "tenant_exists"
    assert tenants.get(tx, "acme").company_name == "acme Ltd"


def test_two_tenants_never_share_a_dataset(tx: WriteTx) -> None:
    twin = replace(make_tenant("twin"), dataset="acme")
    with pytest.raises(Conflict):
        tenants.create(tx, twin, PLAN_LIMITS[Plan.STARTER], now=NOW)


def test_an_unknown_tenant_is_not_found(tx: WriteTx) -> None:
    for question in (tenants.get, tenants.lock_for_terms, tenants.limits, tenants.hold):
        if question is tenants.hold and tx.connection.dialect.name == "sqlite":
            continue
        with pytest.raises(NotFound) as caught:
            question(tx, "nobody")
        assert caught.value.code == "tenant_not_found"


def test_only_what_is_given_is_updated(tx: WriteTx) -> None:
    changed = tenants.update(tx, "acme", status=TenantStatus.SUSPENDED, now=NOW)
    assert changed == replace(make_tenant("acme"), status=TenantStatus.SUSPENDED)
    changed = tenants.update(tx, "acme", company_name="A", admin_email="a@b.example", now=NOW)
    assert (changed.company_name, changed.admin_email) == ("A", "a@b.example")
    assert changed.status is TenantStatus.SUSPENDED
    assert tenants.get(tx, "other") == make_tenant("other")


def test_updating_an_unknown_tenant_is_refused(tx: WriteTx) -> None:
    with pytest.raises(NotFound):
        tenants.update(tx, "nobody", company_name="A", now=NOW)
    with pytest.raises(NotFound):
        tenants.set_limits(tx, "nobody", PLAN_LIMITS[Plan.STARTER], now=NOW)


def test_new_limits_reach_todays_usage_row(tx: WriteTx) -> None:
    usage.ensure_day(tx, "acme", DAY, PLAN_LIMITS[Plan.SCALE], now=NOW)
    limits = replace(PLAN_LIMITS[Plan.STARTER], daily_limit=7)
    tenants.set_limits(tx, "acme", limits, now=NOW)
    assert tenants.limits(tx, "acme") == limits
    row = usage.row(tx, "acme", DAY)
    assert row is not None
    assert (row.daily_limit, row.monthly_limit, row.concurrent_limit) == (7, 180, 1)


def test_variables_belong_to_one_tenant(tx: WriteTx) -> None:
    tenants.set_variable(tx, "acme", "table", "p.d.one", now=NOW)
    tenants.set_variable(tx, "acme", "table", "p.d.two", now=NOW)
    tenants.set_variable(tx, "acme", "admin_email", "", now=NOW)
    assert tenants.variables(tx, "acme") == {"admin_email": "", "table": "p.d.two"}
    assert tenants.variables(tx, "other") == {}


def test_a_variable_is_deleted_once(tx: WriteTx) -> None:
    tenants.set_variable(tx, "acme", "table", "p.d.t", now=NOW)
    with pytest.raises(NotFound):
        tenants.delete_variable(tx, "other", "table")
    tenants.delete_variable(tx, "acme", "table")
    with pytest.raises(NotFound) as caught:
        tenants.delete_variable(tx, "acme", "table")
    assert caught.value.code == "variable_not_found"


def test_what_the_published_copies_show_is_marked_for_them(tx: WriteTx) -> None:
    before = {mark.tenant_id: mark.version for mark in fleet.dirty(tx, 9)}
    tenants.update(tx, "acme", company_name="A", now=NOW)
    tenants.set_limits(tx, "acme", PLAN_LIMITS[Plan.SCALE], now=NOW)
    after = {mark.tenant_id: mark.version for mark in fleet.dirty(tx, 9)}
    assert after == {"acme": before["acme"] + 2, "other": before["other"]}
