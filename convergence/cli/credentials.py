"""`cdp tenants credentials`: the account that a tenant's part of the cloud is reached as."""

from pathlib import Path
from typing import Annotated, Any

import typer

from convergence.cli.command import Call, command, group
from convergence.cli.output import show_record, show_rows

COLUMNS = ("provider", "credential_type", "account", "fingerprint", "description", "updated_at")

app = group("Cloud credentials of a tenant, instead of the service's own.")

TenantId = Annotated[str, typer.Argument(help="The tenant's id.", metavar="TENANT")]


@command(
    app,
    "set",
    examples=(
        "cdp tenants credentials set acme --key-file key.json",
        "cdp tenants credentials set acme --impersonate cdp-acme@p-1.iam.gserviceaccount.com",
    ),
)
def change(
    call: Call,
    *,
    tenant: TenantId,
    key_file: Annotated[
        Path | None, typer.Option(help="A service account's key, JSON; kept sealed.")
    ] = None,
    impersonate: Annotated[
        str | None, typer.Option(help="A service account to act as: nothing secret is kept.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Reach a tenant's datasets in BigQuery as an account of its own, from the next job on."""
    wanted: dict[str, Any] = {"description": description}
    if key_file is not None:
        wanted["credentials_json"] = _read(key_file)
    if impersonate is not None:
        wanted["account"] = impersonate
    with call.client() as client:
        show_record(client.put_credentials(tenant, wanted), call.format)


@command(
    app,
    "ls",
    examples=("cdp tenants credentials ls acme", "cdp tenants credentials ls acme -o json"),
)
def ls(call: Call, *, tenant: TenantId) -> None:
    """List a tenant's credentials, without what is secret."""
    with call.client() as client:
        show_rows(client.credentials(tenant), COLUMNS, call.format)


@command(
    app,
    "rm",
    examples=("cdp tenants credentials rm acme", "cdp tenants credentials rm acme -o json"),
)
def remove(call: Call, *, tenant: TenantId) -> None:
    """Forget a tenant's credentials; from now on the service's own are used."""
    with call.client() as client:
        client.remove_credentials(tenant)
    show_record({"tenant_id": tenant, "removed": True}, call.format)


def _read(path: Path) -> Any:  # noqa: ANN401 - JSON
    import json

    from convergence.errors import Invalid

    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise Invalid(
            f"cannot read {path}: {what}",
            code="invalid_credentials",
            hint="give the JSON file as Google made it",
        ) from None
