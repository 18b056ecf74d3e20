"""What is set by hand: profiles, limits, variables, API keys, sources; and today's usage row."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from glob import has_magic
from itertools import takewhile
from pathlib import Path, PurePath
from typing import Any

from convergence.engine.mint import mint_key
from convergence.engine.service import Service
from convergence.errors import Conflict, Invalid, NotFound
from convergence.model import binding
from convergence.model.key import ApiKeyRecord, Scope
from convergence.model.quota import Use
from convergence.model.source import TABLE, Source, check_table
from convergence.model.tenant import RESERVED, Limits, Tenant, TenantStatus, check_tenant_id
from convergence.model.usage import UsageRow
from convergence.outside.notify import check_address
from convergence.store import fleet, keys, sources, tenants, usage
from convergence.store.database import ReadTx

MAX_KEYS = 5
KEY_ID = re.compile(r"[0-9A-Za-z]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """A tenant's present day: its row, the limits in force, and what counts against them."""

    row: UsageRow
    limits: Limits
    use: Use


def update_tenant(
    service: Service,
    tenant_id: str,
    *,
    company_name: str | None = None,
    admin_email: str | None = None,
    status: TenantStatus | None = None,
) -> Tenant:
    """Change what is not None. Raises NotFound and Invalid."""
    if admin_email is not None:
        check_address(admin_email)
    with service.database.write() as tx:
        return tenants.update(
            tx,
            tenant_id,
            company_name=company_name,
            admin_email=admin_email,
            status=status,
            now=service.clock.now(),
        )


def set_limits(service: Service, tenant_id: str, changes: Mapping[str, int | None]) -> Limits:
    """Change some limits; those in force afterwards. Raises NotFound."""
    with service.database.write() as tx:
        changed: dict[str, Any] = dict(changes)
        limits = replace(tenants.limits(tx, tenant_id), **changed)
        tenants.set_limits(tx, tenant_id, limits, now=service.clock.now())
    return limits


def todays_usage(service: Service, tenant_id: str) -> Usage:
    """The usage of this UTC day; its row is made when the day has none. Raises NotFound."""
    now = service.clock.now()
    day = now.date()
    with service.database.read() as tx:
        limits = tenants.limits(tx, tenant_id)
        use, row = usage.use(tx, tenant_id, day), usage.row(tx, tenant_id, day)
    if row is None:
        with service.database.write() as write:
            usage.ensure_day(write, tenant_id, day, limits, now=now)
            row = usage.row(write, tenant_id, day)
    if row is None:
        raise Conflict(f"the usage row of {tenant_id} is gone", code="usage_missing")
    return Usage(row=row, limits=limits, use=use)


def set_variable(service: Service, tenant_id: str, name: str, value: str) -> None:
    """Store a value for all the tenant's templates that declare `name`. Raises Invalid."""
    if not binding.NAME.fullmatch(name):
        raise Invalid(
            f"{name[:60]!r} is not a variable's name",
            code="invalid_variable",
            hint="lower-case letters, digits and _, starting with a letter",
        )
    if name in (binding.BUILT_INS | binding.LATE) - binding.DECLARABLE:
        raise Invalid(f"{name} is set by the system and cannot be given", code="builtin_variable")
    binding.check_value(name, value)
    with service.database.write() as tx:
        tenants.lock(tx, tenant_id)
        tenants.set_variable(tx, tenant_id, name, value, now=service.clock.now())


def delete_variable(service: Service, tenant_id: str, name: str) -> None:
    """Raises NotFound."""
    if not binding.NAME.fullmatch(name):
        raise NotFound(
            f"Tenant {tenant_id} has no variable {name[:60]!r}", code="variable_not_found"
        )
    with service.database.write() as tx:
        tenants.delete_variable(tx, tenant_id, name)


def create_key(
    service: Service, tenant_id: str, *, key_name: str, days: int, scopes: Collection[Scope]
) -> tuple[ApiKeyRecord, str]:
    """A new API key and its text, which is not kept. Raises NotFound, Conflict (too many)."""
    now = service.clock.now()
    record, text = mint_key(
        service, tenant_id, key_name=key_name, days=days, scopes=scopes, now=now
    )
    with service.database.write() as tx:
        tenants.lock(tx, tenant_id)
        good = [key for key in keys.active(tx, tenant_id) if not _is_over(key, record)]
        if len(good) >= MAX_KEYS:
            raise Conflict(
                f"{tenant_id} has {len(good)} API keys; {MAX_KEYS} are allowed",
                code="too_many_keys",
                hint="revoke one that is no longer used",
            )
        keys.add(tx, record, now=now)
    return record, text


def revoke_key(service: Service, tenant_id: str, key_id: str) -> None:
    """Raises NotFound."""
    if not KEY_ID.fullmatch(key_id):
        raise NotFound(f"API key not found: {key_id[:60]!r}", code="key_not_found")
    with service.database.write() as tx:
        keys.revoke(tx, tenant_id, key_id, now=service.clock.now())


def put_source(service: Service, source: Source) -> Source:
    """Add a source, or replace it with its grants. Raises Invalid, NotFound (a tenant)."""
    check_table(source.table)
    if source.files is not None:
        _check_files(source.files)
        _check_apart(source.files, service.config.home)
    granted = [grant.tenant_id for grant in source.grants]
    if len(granted) != len(set(granted)):
        raise Invalid("a tenant is named twice", code="invalid_grant")
    for tenant_id in granted:
        check_tenant_id(tenant_id)
    with service.database.write() as tx:
        _check_dataset(tx, service.config.project, source.table)
        sources.put(tx, source, now=service.clock.now())
    return source


def remove_source(service: Service, table: str) -> None:
    """Forget a source; what was loaded from it stays. Raises NotFound."""
    if not TABLE.fullmatch(table):
        raise NotFound(f"Source not found: {table[:80]!r}", code="source_not_found")
    with service.database.write() as tx:
        sources.remove(tx, table)


def _check_dataset(tx: ReadTx, project: str, table: str) -> None:
    """In a statement the name of a tenant's dataset means that tenant's own tables."""
    place, dataset, _ = table.split(".", 2)
    if place == project and (dataset in RESERVED or fleet.tenant_of_dataset(tx, dataset)):
        raise Invalid(
            f"{table}: {dataset} is a dataset of this service, whose tables are no exports",
            code="invalid_table",
            hint=f"name it otherwise, for example {place}.billing.export: here the name is free",
        )


def _check_files(files: str) -> None:
    if "://" in files:
        raise Invalid(
            f"files is an address, {files[:80]}: only files on a disk can be read",
            code="invalid_files",
            hint="copy or mount them; on BigQuery, make a table over the bucket (bq mk "
            "--external_table_definition) and add it without files",
        )
    wrong = binding.wrong_text(files, longest=binding.MAX_VALUE)
    if wrong or not PurePath(files).is_absolute() or ".." in PurePath(files).parts:
        raise Invalid(
            f"files {wrong or 'must be an absolute path, without ..'}",
            code="invalid_files",
            hint="for example /data/export/*.parquet; the files may come later",
        )


def _check_apart(files: str, home: Path) -> None:
    """A tenant's engine reads the whole folder of its files: it must not hold others' rows."""
    fixed = takewhile(lambda part: not has_magic(part), PurePath(files).parent.parts)
    folder, home = Path(*fixed).resolve(), home.resolve()
    own = (home / "warehouse", home / "logs")
    if home.is_relative_to(folder) or any(folder.is_relative_to(place) for place in own):
        raise Invalid(
            f"files would open {folder}, and with it the state of this service in {home}",
            code="invalid_files",
            hint="give the export a folder of its own, for example /data/export/*.parquet",
        )


def _is_over(key: ApiKeyRecord, newer: ApiKeyRecord) -> bool:
    return key.expires_at is not None and key.expires_at <= newer.created_at
