"""What the processes on one store must agree on: the pepper, and which home has the files.

A process that would break the agreement is refused, and told what to do.
"""

import socket
from uuid import uuid4

from convergence.engine.service import Service
from convergence.errors import Conflict, Unavailable
from convergence.model.tenant import Tenant
from convergence.outside.home import Home
from convergence.outside.secrets import Secrets
from convergence.store import deployment
from convergence.store.database import Database
from convergence.store.deployment import FILES, PEPPER


def check_pepper(database: Database, secrets: Secrets) -> None:
    """Raise Conflict when the keys of this store were hashed with another pepper."""
    for version, fingerprint in enumerate(secrets.fingerprints, start=1):
        if deployment.agree(database, f"{PEPPER}{version}", fingerprint) != fingerprint:
            raise _other_pepper(f"version {version} of it is another")
    with database.read() as tx:
        known = len(deployment.values(tx, PEPPER))
    if known > len(secrets.fingerprints):
        raise _other_pepper(f"it lacks version {known}")


def claim_files(service: Service) -> bool:
    """Make this home the one with the tenants' files, unless another is, or it must not become
    it; whether it is this one.

    The caller holds the home's lock. On SQLite there is one home; where the warehouse is shared,
    no home has files.
    """
    if service.database.is_sqlite or service.config.is_warehouse_shared:
        return True
    if not service.config.may_claim_files:
        return holds_files(service)
    return claim_for(service.home, service.database)


def claim_for(home: Home, database: Database) -> bool:
    """The same for a home on PostgreSQL."""
    home.identify(f"{uuid4()} {socket.gethostname()}:{home.path}")
    return deployment.agree(database, FILES, home.identity or "") == home.identity


def holds_files(service: Service) -> bool:
    """Whether this process reaches the tenants' tables: they are shared, or files in its home."""
    if service.database.is_sqlite or service.config.is_warehouse_shared:
        return True
    with service.database.read() as tx:
        holder = deployment.value(tx, FILES)
    return holder is not None and holder == service.home.identity


def check_files(service: Service) -> None:
    """Raise Unavailable when the tenants' files are not in this home."""
    if not holds_files(service):
        raise Unavailable(
            "The tenants' tables are not in this process's home: another process holds them",
            code="warehouse_elsewhere",
            hint="ask the `cdp serve` or `cdp worker` that works in the home with the files "
            "(`cdp doctor` names it), or run one in that home",
        )


def check_warehouse(service: Service, tenant: Tenant) -> None:
    """Raise Conflict when what has the tenant's tables is not what this process works with."""
    if tenant.warehouse is not service.config.warehouse:
        here = service.config.warehouse
        raise Conflict(
            f"The tables of {tenant.tenant_id} are in {tenant.warehouse}, and this process works "
            f"with {here}",
            code="tenant_elsewhere",
            hint=f"cdp tenants move {tenant.tenant_id} --to {here}, while nothing serves",
        )


def files_place(database: Database) -> str:
    """`host:folder` of the home with the files, as it was when it was claimed; "" for none."""
    with database.read() as tx:
        return (deployment.value(tx, FILES) or "").partition(" ")[2]


def _other_pepper(why: str) -> Conflict:
    return Conflict(
        f"This process's pepper is not the one that this store's API keys were hashed with: {why}",
        code="pepper_differs",
        hint="give all processes the same CDP_PEPPER: the content of the file `pepper` in the "
        "first one's home, or in its backup",
    )
