"""`cdp tenants`: who there is, a new one, and their keys."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convergence.cli import credentials
from convergence.cli.command import Call, command, group
from convergence.cli.output import show_record, show_rows
from convergence.model.tenant import WarehouseKind

if TYPE_CHECKING:
    from convergence.engine.move import Group, Moved

COLUMNS = ("tenant_id", "company_name", "subscription_plan", "status", "admin_email", "created_at")
CHECK_COLUMNS = ("check_name", "passed", "message")
MOVED_COLUMNS = ("table", "days", "copied", "rows")
PROOF_COLUMNS = (
    *("table", "day", "invoice_month", "cost_type", "currency", "x_source", "rows"),
    *("cost", "credits_total"),
)
KEY_COLUMNS = ("api_key_id", "key_name", "scopes", "created_at", "expires_at", "last_used_at")

app = group("Tenants: who owns data, keys and limits.")
keys = group("A tenant's API keys.")
app.add_typer(keys, name="keys")
app.add_typer(credentials.app, name="credentials")


class KeyScope(StrEnum):
    """The scopes of a key, by their last word."""

    read = "read"
    write = "write"
    execute = "execute"


TenantId = Annotated[str, typer.Argument(help="The tenant's id.", metavar="TENANT")]


@command(
    app,
    "onboard",
    examples=(
        "cdp tenants onboard acme --email admin@acme.example",
        'cdp tenants onboard acme --email admin@acme.example --company "Acme Inc" --plan SCALE',
    ),
)
def onboard(
    call: Call,
    *,
    tenant: TenantId,
    email: Annotated[str, typer.Option(help="Address of the tenant's administrator.")],
    company: Annotated[str | None, typer.Option(help="The company's name; else the id.")] = None,
    plan: Annotated[str, typer.Option(help="STARTER, PROFESSIONAL or SCALE.")] = "STARTER",
) -> None:
    """Bring a tenant in: profile, tables and an API key, which is shown this one time."""
    application = {
        "tenant_id": tenant,
        "company_name": company or tenant,
        "admin_email": email,
        "subscription_plan": plan.upper(),
    }
    with call.client() as client:
        show_record(client.onboard(application), call.format)


@command(
    app,
    "dryrun",
    examples=(
        "cdp tenants dryrun acme --email admin@acme.example",
        "cdp tenants dryrun acme --email a@b.example --source p-1.billing.export",
    ),
)
def dryrun(
    call: Call,
    *,
    tenant: TenantId,
    email: Annotated[str, typer.Option(help="Address of the tenant's administrator.")],
    company: Annotated[str | None, typer.Option(help="The company's name; else the id.")] = None,
    plan: Annotated[str, typer.Option(help="STARTER, PROFESSIONAL or SCALE.")] = "STARTER",
    source: Annotated[
        str, typer.Option(metavar="PROJECT.DATASET.TABLE", help="The export it shall read.")
    ] = "",
) -> None:
    """Make every check of onboarding, and change nothing; exit 1 when one fails.

    With a source also whether it can be read, what it is, its currencies and how far it reaches.
    """
    application = {
        "tenant_id": tenant,
        "company_name": company or tenant,
        "admin_email": email,
        "subscription_plan": plan.upper(),
        "source_table": source,
    }
    with call.client() as client:
        checked = client.dryrun(application)
    show_rows(checked["validation_results"], CHECK_COLUMNS, call.format)
    if not checked["ready_for_onboarding"]:
        raise typer.Exit(1)


@command(app, "ls", examples=("cdp tenants ls", "cdp tenants ls --limit 20 -o json"))
def ls(
    call: Call, *, limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1000
) -> None:
    """List the tenants, by id."""
    with call.client() as client:
        show_rows(client.tenants(limit=limit), COLUMNS, call.format)


@command(app, "show", examples=("cdp tenants show acme", "cdp tenants show acme -o json"))
def show(call: Call, *, tenant: TenantId) -> None:
    """Show one tenant."""
    with call.client() as client:
        show_record(client.tenant(tenant), call.format)


@command(
    app,
    "suspend",
    examples=("cdp tenants suspend acme", "cdp tenants suspend acme -o json"),
)
def suspend(call: Call, *, tenant: TenantId) -> None:
    """Let a tenant in no more: keys, sessions, runs and schedules. What runs goes on, data stay."""
    with call.client() as client:
        show_record(client.change_tenant(tenant, {"status": "SUSPENDED"}), call.format)


@command(app, "resume", examples=("cdp tenants resume acme", "cdp tenants resume acme -o json"))
def resume(call: Call, *, tenant: TenantId) -> None:
    """Let a suspended tenant in again, by its old keys."""
    with call.client() as client:
        show_record(client.change_tenant(tenant, {"status": "ACTIVE"}), call.format)


@command(
    app,
    "plan",
    examples=(
        "cdp tenants plan acme PROFESSIONAL",
        "cdp tenants plan acme --until 2025-12-31 --status ACTIVE",
    ),
)
def plan(
    call: Call,
    *,
    tenant: TenantId,
    plan: Annotated[
        str | None,
        typer.Argument(metavar="[PLAN]", help="STARTER, PROFESSIONAL or SCALE, with its limits."),
    ] = None,
    status: Annotated[str | None, typer.Option(help="ACTIVE, TRIAL, INACTIVE or EXPIRED.")] = None,
    until: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD|never", help="The last day of it.")
    ] = None,
    trial_until: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD|never", help="The last day of the trial.")
    ] = None,
) -> None:
    """Show what a tenant has subscribed to, or change it for new runs."""
    from convergence.cli.output import say

    changes: dict[str, Any] = {
        "plan_name": plan and plan.upper(),
        "status": status and status.upper(),
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    for name, day in (("subscription_end_date", until), ("trial_end_date", trial_until)):
        if day is not None:
            changes[name] = None if day == "never" else day
    with call.client() as client:
        found = client.subscribe(tenant, changes) if changes else client.subscription(tenant)
    show_record(found, call.format)
    if found["notice"]:
        say(f"notice: {found['notice']}")


@command(
    app,
    "move",
    examples=(
        "cdp tenants move acme --to bigquery",
        "cdp tenants move acme --to duckdb --proof -o csv",
    ),
)
def move(
    call: Call,
    *,
    tenant: TenantId,
    to: Annotated[WarehouseKind, typer.Option(help="The warehouse to move to.")],
    proof: Annotated[
        bool, typer.Option("--proof", help="Show the sums of each day, month and currency.")
    ] = False,
) -> None:
    """Copy a tenant's tables to another warehouse, prove that they are equal, and work there.

    Nothing may serve meanwhile. Safe to repeat; what was there stays.
    """
    from convergence.cli.homes import alone_beside
    from convergence.cli.output import say
    from convergence.engine.move import move as move_tables

    def tell(table: "Moved") -> None:
        say(f"{table.table}: {table.rows} rows of {table.days} days are equal")

    with alone_beside(call.settings(), to) as (here, there):
        done = move_tables(here, there, tenant, tell)
    if proof:
        rows = [_proven(table.table, group) for table in done for group in table.groups]
        show_rows(rows, PROOF_COLUMNS, call.format)
    else:
        show_rows([_moved(table) for table in done], MOVED_COLUMNS, call.format)
    say(f"{tenant} is in {to}; serve it with CDP_WAREHOUSE={to}")


def _moved(table: "Moved") -> dict[str, Any]:
    return {name: getattr(table, name) for name in MOVED_COLUMNS}


def _proven(table: str, found: "Group") -> dict[str, Any]:
    keys = {"currency": found.keys.get("BillingCurrency"), **found.keys}
    sums = {name: str(value) for name, value in found.sums.items() if value is not None}
    day = found.day.isoformat() if found.day else None
    return {"table": table, "day": day, **keys, "rows": found.rows, "sums": sums, **sums}


@command(
    keys,
    "create",
    examples=(
        "cdp tenants keys create acme --name ci",
        "cdp tenants keys create acme --name reports --days 30 --scope read -o json",
    ),
)
def create_key(
    call: Call,
    *,
    tenant: TenantId,
    name: Annotated[str, typer.Option(help="What the key is for.")],
    days: Annotated[int, typer.Option(min=1, max=365, help="Days until it ends.")] = 90,
    scope: Annotated[
        list[KeyScope] | None, typer.Option(help="Only good for this; repeatable.")
    ] = None,
) -> None:
    """Make an API key. Its text is shown this one time."""
    wanted: dict[str, Any] = {"key_name": name, "expires_in_days": days}
    if scope:
        wanted["scopes"] = [f"pipelines:{each.value}" for each in scope]
    with call.client() as client:
        show_record(client.create_key(tenant, wanted), call.format)


@command(keys, "ls", examples=("cdp tenants keys ls acme", "cdp tenants keys ls acme -o csv"))
def list_keys(call: Call, *, tenant: TenantId) -> None:
    """List a tenant's keys: public ids, never the keys."""
    with call.client() as client:
        show_rows(client.keys(tenant), KEY_COLUMNS, call.format)


@command(
    keys,
    "revoke",
    examples=(
        "cdp tenants keys revoke acme 0A1b2C3d4E5f",
        "cdp tenants keys revoke acme 0A1b2C3d4E5f -o json",
    ),
)
def revoke_key(
    call: Call,
    *,
    tenant: TenantId,
    key: Annotated[str, typer.Argument(help="The key's public id.", metavar="KEY_ID")],
) -> None:
    """From now on a key opens nothing."""
    with call.client() as client:
        client.revoke_key(tenant, key)
    show_record({"tenant_id": tenant, "api_key_id": key, "is_active": False}, call.format)
