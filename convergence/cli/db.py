"""`cdp db`: whether store and warehouse are at the schema, and bringing them there."""

from typing import TYPE_CHECKING, Any

import typer

from convergence.cli.command import Call, command, group
from convergence.cli.output import say, show_rows

if TYPE_CHECKING:
    from convergence.engine.migrate import Applied, TableState
    from convergence.settings import Settings

COLUMNS = ("place", "table", "state", "detail")
CURRENT, MISSING, BEHIND, FAILED, MIGRATED = "current", "missing", "behind", "failed", "migrated"
HELD = "held by the running server"

Row = dict[str, Any]

app = group("Store and warehouse: their tables beside the schema.")


@command(app, "status", examples=("cdp db status", "cdp db status -o json"))
def status(call: Call) -> None:
    """Show what is at the schema; exit 1 when something is not. Changes nothing.

    Beside a running server only the store can be read.
    """
    settings = call.settings()
    rows = [store_state(settings)]
    if rows[0]["state"] == CURRENT:
        rows += _table_states(settings)
    show_rows(rows, COLUMNS, call.format)
    if any(row["state"] not in {CURRENT, HELD} for row in rows):
        say("not everything is at the schema: cdp db migrate")
        raise typer.Exit(1)


@command(app, "migrate", examples=("cdp db migrate", "cdp db migrate -o json"))
def bring(call: Call) -> None:
    """Bring store and warehouse to the schema: additive, and safe to repeat."""
    from convergence.cli.homes import alone
    from convergence.engine import migrate

    settings = call.settings()
    before = store_state(settings)
    with alone(settings) as service:
        _ = service.database
        rows = [before | ({} if before["state"] == CURRENT else {"state": MIGRATED})]
        rows += map(_applied, migrate.migrate(service))
    show_rows(rows, COLUMNS, call.format)
    if any(row["state"] == FAILED for row in rows):
        raise typer.Exit(1)


def store_state(settings: "Settings") -> Row:
    """The control store beside the schema. Raises Unavailable."""
    from convergence.store import migrate
    from convergence.store.database import Database

    row = {"place": "store", "table": "(all)"}
    if settings.database_url is None and not (settings.home / "control.db").exists():
        return {**row, "state": MISSING, "detail": "it is made at the first use"}
    database = Database(settings.database_url_text())
    try:
        found = migrate.status(database)
    finally:
        database.close()
    state = CURRENT if found.is_current else BEHIND if found.current else MISSING
    return {**row, "state": state, "detail": f"revision {found.current}, newest {found.head}"}


def _table_states(settings: "Settings") -> list[Row]:
    from convergence.cli.homes import alone
    from convergence.engine import migrate
    from convergence.outside.home import Home

    holder = Home(settings.home).holder()
    if holder is not None and holder.url:
        seen = f"process {holder.pid} at {holder.url}; stop it to look at the tables"
        return [{"place": "warehouse", "table": "(all)", "state": HELD, "detail": seen}]
    with alone(settings) as service:
        return [_state(table) for table in migrate.status(service)]


def _state(table: "TableState") -> Row:
    state, detail = CURRENT, ""
    if table.error:
        state, detail = FAILED, table.error
    elif not table.exists:
        state = MISSING
    elif not table.is_current:
        state, detail = BEHIND, f"lacks {', '.join(table.missing)}"
    return {"place": table.dataset, "table": table.table, "state": state, "detail": detail}


def _applied(done: "Applied") -> Row:
    state, detail = MIGRATED, "; ".join(done.statements)
    if done.error:
        state, detail = FAILED, done.error
    return {"place": done.dataset, "table": done.table, "state": state, "detail": detail}
