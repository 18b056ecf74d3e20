"""Bring a tenant in: checks, profile, key, subscription, today's usage, dataset. All or nothing."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from convergence.engine.agree import holds_files
from convergence.engine.ensure import ensure_tables
from convergence.engine.inspect import look_at
from convergence.engine.mint import mint_key
from convergence.engine.service import Service
from convergence.errors import CdpError, Conflict, Invalid, NotFound
from convergence.model.key import Scope
from convergence.model.source import GrantedSource, Kind, check_table
from convergence.model.tenant import PLAN_LIMITS, Plan, Tenant, TenantStatus, check_tenant_id
from convergence.outside.notify import is_address
from convergence.store import fleet, keys, tenants, usage

KEY_DAYS = 365
NAME = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What is asked for a new tenant, as it came in."""

    tenant_id: str
    company_name: str
    admin_email: str
    subscription_plan: str = Plan.STARTER
    source_table: str = ""
    """The export that it shall read; looked at by the checks alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of an application. `message` says what was seen, and what to do when it failed."""

    name: str
    passed: bool
    message: str
    checked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarded:
    """The new tenant. `api_key` is the only sight of its key there will ever be."""

    tenant: Tenant
    api_key: str
    dataset_created: bool
    tables_created: tuple[str, ...]


def check_application(service: Service, application: Application) -> list[Check]:
    """Every check of onboarding, none of them changing anything."""
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("tenant_id_format", lambda: check_tenant_id(application.tenant_id)),
        ("company_name", lambda: _check_name(application.company_name)),
        ("email_format", lambda: _check_email(application.admin_email)),
        ("subscription_plan", lambda: _check_plan(application.subscription_plan)),
        ("tenant_existence", lambda: _check_absent(service, application.tenant_id)),
        ("warehouse", lambda: _check_warehouse(service)),
    )
    if application.source_table:
        checks += (("export", lambda: _check_export(service, application)),)
    return [_try(service, name, check) for name, check in checks]


def onboard(service: Service, application: Application) -> Onboarded:
    """Make the tenant. Raises Invalid or Conflict, and then nothing of it is left."""
    check_tenant_id(application.tenant_id)
    _check_name(application.company_name)
    _check_email(application.admin_email)
    plan = Plan(_check_plan(application.subscription_plan))
    _check_absent(service, application.tenant_id)
    tenant = Tenant(
        tenant_id=application.tenant_id,
        company_name=application.company_name,
        admin_email=application.admin_email,
        dataset=service.config.dataset_prefix + application.tenant_id,
        status=TenantStatus.ACTIVE,
        plan=plan,
        created_at=service.clock.now(),
        warehouse=service.config.warehouse,
    )
    made, tables = _make_dataset(service, tenant)
    try:
        api_key = _enrol(service, tenant)
    except CdpError:
        _undo_dataset(service, tenant, made=made)
        raise
    return Onboarded(tenant=tenant, api_key=api_key, dataset_created=made, tables_created=tables)


def _enrol(service: Service, tenant: Tenant) -> str:
    """Everything the store knows of a new tenant, in one transaction; its key. Raises Conflict."""
    now, limits = tenant.created_at, PLAN_LIMITS[tenant.plan]
    key, text = mint_key(
        service,
        tenant.tenant_id,
        key_name="onboarding",
        days=KEY_DAYS,
        scopes=tuple(Scope),
        now=now,
    )
    with service.database.write() as tx:
        tenants.create(tx, tenant, limits, now=now)
        keys.add(tx, key, now=now)
        usage.ensure_day(tx, tenant.tenant_id, now.date(), limits, now=now)
    return text


def _make_dataset(service: Service, tenant: Tenant) -> tuple[bool, tuple[str, ...]]:
    """The tenant's dataset and tables, before the store knows it: a dataset without a tenant is
    found again by a second try, a tenant without a dataset would fail every run.

    Where the files are another process's, that one makes them, before the first load.
    """
    if not holds_files(service):
        return False, ()
    made = service.warehouse.ensure_dataset(tenant.dataset)
    try:
        tables = ensure_tables(service, tenant.dataset)
    except CdpError:
        _undo_dataset(service, tenant, made=made)
        raise
    return made, tables


def _undo_dataset(service: Service, tenant: Tenant, *, made: bool) -> None:
    """Drop what this call made, unless another call onboarded the tenant meanwhile."""
    if not made:
        return
    try:
        with service.database.read() as tx:
            tenants.get(tx, tenant.tenant_id)
    except NotFound:
        service.warehouse.drop_dataset(tenant.dataset)


def _try(service: Service, name: str, check: Callable[[], str]) -> Check:
    now = service.clock.now()
    try:
        message = check()
    except CdpError as error:
        detail = f"{error.detail} (try: {error.hint})" if error.hint else error.detail
        return Check(name=name, passed=False, message=detail, checked_at=now)
    return Check(name=name, passed=True, message=message, checked_at=now)


def _check_name(text: str) -> str:
    if not NAME.fullmatch(text) or not text.strip():
        raise Invalid(
            "company_name is 1 to 200 characters, none of them a control character",
            code="invalid_company_name",
        )
    return text


def _check_email(text: str) -> str:
    if not is_address(text):
        raise Invalid(
            f"admin_email {text[:80]!r} is not a mail address",
            code="invalid_email",
            hint="one plain address, for example finops@example.com",
        )
    return text


def _check_plan(text: str) -> str:
    if text not in list(Plan):
        raise Invalid(
            f"subscription_plan {text[:40]!r} does not exist",
            code="invalid_plan",
            hint=f"one of {', '.join(Plan)}",
        )
    return text


def _check_absent(service: Service, tenant_id: str) -> str:
    try:
        with service.database.read() as tx:
            tenants.get(tx, tenant_id)
    except NotFound:
        return f"{tenant_id} is free"
    raise Conflict(
        f"Tenant {tenant_id} exists already", code="tenant_exists", hint="choose another tenant_id"
    )


def _check_export(service: Service, application: Application) -> str:
    """Whether it can be read as a load would read it; reads some columns of all of it."""
    table = check_table(application.source_table)
    with service.database.read() as tx:
        known = fleet.source(tx, table)
    if known is None and not service.config.is_warehouse_shared:
        raise Invalid(
            f"{table} is made of files, and nobody has added it",
            code="source_not_found",
            hint=f"cdp sources add {table} --files …, then cdp sources check {table}",
        )
    source = GrantedSource(
        table=table,
        files=known.files if known else None,
        kind=known.kind if known else Kind.AUTO,
    )
    dataset = service.config.dataset_prefix + application.tenant_id
    kind, reaches = look_at(service, application.tenant_id, dataset, source)
    if not reaches:
        raise NotFound(f"{table} has no rows", hint="a new export takes some hours")
    return f"{kind}: " + "; ".join(
        f"{each.rows:,} rows in {each.currency}, {each.first_day} to {each.last_day} "
        f"({each.days_without_rows} days without rows), exported from "
        f"{each.oldest_export_time:%Y-%m-%d} to {each.newest_export_time:%Y-%m-%d}"
        for each in reaches
    )


def _check_warehouse(service: Service) -> str:
    if not holds_files(service):
        return "another process holds the tenants' tables, and makes those of this tenant"
    unknown = service.warehouse.check_new_datasets()
    return "the warehouse answers" + (f"; {unknown}" if unknown else "")
