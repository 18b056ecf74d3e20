"""`cdp db`: store and warehouse beside their schemas, and bringing them there."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convergence.cli.command import AnyTenant, Call, command, group
from convergence.cli.output import Format, say, show_rows, write
from convergence.errors import Invalid, NotFound, Unavailable

if TYPE_CHECKING:
    from convergence.engine.at_schema import TableState
    from convergence.settings.fields import Settings
    from convergence.store.database import Database

COLUMNS = ("place", "table", "state", "detail")
DRIFTS = ("place", "table", "column", "drift", "wanted", "found", "verdict")
KEPT = ("path", "size", "sha256", "error")
CURRENT, MISSING, BEHIND, NEWER = "current", "missing", "behind", "newer"
UNMADE, UNSEEN = "not made yet", "not looked at"
NO_HOME = "check --home or CDP_HOME; a home is made by its first use"
MENDED, MADE, FAILED = "mended", "made", "failed"
BEGINNING = 80
"""Characters of a statement that was run."""
CLEAN, ERROR, DRIFT = 0, 1, 2
"""Exit codes."""

Row = dict[str, Any]
Approve = Annotated[
    bool, typer.Option("--approve", help="Do what needs approval, too: drop columns, convert.")
]

app = group("Store and warehouse: their tables beside the schema.")


@command(app, "status", examples=("cdp db status", "cdp db status -o json"))
def status(call: Call, *, tenant: AnyTenant = None) -> None:
    """Show each table beside the schema; exit 2 when something differs. Changes nothing.

    Beside a running server that one is asked for its tables.
    """
    rows = _looked(call, tenant)
    show_rows(rows, COLUMNS, call.format)
    _end(rows)


@command(app, "check", examples=("cdp db check", "cdp db check --tenant acme -o json"))
def check(call: Call, *, tenant: AnyTenant = None) -> None:
    """Show every difference from the schema and what it means; exit 2 when there is one."""
    rows = _looked(call, tenant)
    differing = [row for row in rows if row["state"] not in {CURRENT, UNMADE}]
    if call.format is Format.TABLE:
        show_rows([line for row in differing for line in _lines(row)], DRIFTS, call.format)
    else:
        show_rows(differing, COLUMNS, call.format)
    _end(rows)


@command(app, "migrate", examples=("cdp db migrate --plan", "cdp db migrate --tenant acme"))
def bring(
    call: Call,
    *,
    tenant: AnyTenant = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show the statements, run none.")] = False,
    approve: Approve = False,
    approve_migrations: Annotated[
        bool,
        typer.Option("--approve-migrations", help="Take this program's migrations for those done."),
    ] = False,
) -> None:
    """Bring store and warehouse to the schema; safe to repeat. Only what loses nothing, unless
    --approve. Exit 2 when something still differs.
    """
    from convergence.cli.homes import alone
    from convergence.engine import migrate, store_schema
    from convergence.engine.agree import claim_files

    settings = call.settings()
    before = store_state(settings)
    if plan and before["state"] != CURRENT:
        show_rows([before], COLUMNS, call.format)
        _end([before])
        return
    with alone(settings) as service:
        accepted = _approve_migrations(settings) if approve_migrations and not plan else ""
        if not plan:
            claim_files(service)
        mended = store_schema.bring_store(service.database, approved=approve, is_plan=plan)
        brought = _row if plan else _brought
        rows = [brought(state) for state in mended]
        done = [accepted, before["detail"] if before["state"] != CURRENT else ""]
        rows[0] = _also(rows[0], [said for said in done if said])
        tables = migrate.bring(service, tenant, approved=approve, is_plan=plan)
        rows += [brought(state) for state in tables]
    show_rows(rows, COLUMNS, call.format)
    if plan and call.format is Format.TABLE:
        _show_statements(rows)
    _end(rows)


@command(app, "bootstrap", examples=("cdp db bootstrap", "cdp db bootstrap -o json"))
def bootstrap(call: Call) -> None:
    """Set up a new place: store, operator's dataset and its tables. Safe to repeat."""
    from convergence.cli.homes import alone
    from convergence.engine import migrate, store_schema
    from convergence.engine.agree import claim_files

    settings = call.settings()
    before = store_state(settings)
    with alone(settings) as service:
        claim_files(service)
        rows = [_row(state) for state in store_schema.store_states(service.database)]
        is_new, tables = migrate.bootstrap(service)
        copies = [_row(state) for state in tables]
    if before["state"] == MISSING:
        rows[0]["state"] = MADE
    made = [row | {"state": MADE} if is_new else row for row in copies]
    show_rows([*rows, *made], COLUMNS, call.format)
    _end([*rows, *made])


@command(app, "backup", examples=("cdp db backup", "cdp db backup /mnt/backups/monday"))
def backup(
    call: Call,
    folder: Annotated[
        Path | None, typer.Argument(help="A new folder; else one in backups/ of the home.")
    ] = None,
) -> None:
    """Copy store, tenants' files, pepper and key into a folder, with a manifest of their sums.

    A server that runs in the home does it, and goes on meanwhile.
    """
    from convergence.engine.backup import check_new, move

    settings = call.settings()
    if not call.server and _is_unmade(settings):
        raise NotFound(f"there is no home at {settings.home}: nothing to back up", hint=NO_HOME)
    if folder is not None and call.server:
        raise Invalid("a folder of this machine is not the server's: leave FOLDER out")
    target = folder and check_new(folder)
    with call.client() as client:
        made = client.backup()
    if target is not None:
        move(Path(made["folder"]), target)
    show_rows(made["files"], KEPT, call.format)
    say(f"backed up into {target or made['folder']}")
    if not made["complete"]:
        say("not everything could be copied")
        raise typer.Exit(ERROR)


@command(
    app,
    "restore",
    examples=(
        "cdp db restore .cdp/backups/20250301T030000Z --home new",
        "cdp db restore /mnt/backups/monday --home /srv/cdp-new",
    ),
)
def restore(
    call: Call, folder: Annotated[Path, typer.Argument(help="What `cdp db backup` made.")]
) -> None:
    """Put a backup into an empty home (and an empty PostgreSQL, where CDP_DATABASE_URL is set)."""
    from convergence.cli.homes import take_home
    from convergence.engine.backup import restore as put_back
    from convergence.outside.home import Home

    settings = call.settings()
    url = None if settings.database_url is None else settings.database_url_text()
    home = Home(settings.home)
    home.ensure()
    with take_home(home):
        kept = put_back(folder.absolute(), home, url)
    show_rows([asdict(each) for each in kept], KEPT, call.format)
    say(f"restored into {home.path}; cdp db check tells what a newer version would change")
    if lacks := [each.path for each in kept if each.error]:
        say(f"the backup was made without {', '.join(lacks)}: restore that from another one")
        raise typer.Exit(ERROR)


def store_state(settings: "Settings") -> Row:
    """Which migration the control store is at. Raises Unavailable."""
    from convergence.store import migrate

    if _is_unmade(settings):
        return _store_row(MISSING, "it is made at the first use")
    with _opened(settings) as database:
        found = migrate.status(database)
    state = CURRENT if found.is_current else BEHIND if found.is_behind else NEWER
    if found.current is None:
        state = MISSING
    return _store_row(state, f"revision {found.current}, newest {found.head}")


def check_store(settings: "Settings") -> None:
    """Raise Unavailable when a server would not start on it."""
    from convergence.engine import store_schema

    with _opened(settings) as database:
        store_schema.check_store(database)


def _store_row(state: str, detail: str) -> Row:
    return _whole_row("store", state, detail)


def _warehouse_row(state: str, detail: str) -> Row:
    return _whole_row("warehouse", state, detail)


def _whole_row(place: str, state: str, detail: str) -> Row:
    row = {"place": place, "table": "(all)", "state": state, "detail": detail}
    return {**row, "drifts": [], "statements": []}


def _is_unmade(settings: "Settings") -> bool:
    return settings.database_url is None and not (settings.home / "control.db").exists()


def _approve_migrations(settings: "Settings") -> str:
    """Before the store is opened to be worked with: that would migrate it, or be refused."""
    from convergence.engine.store_schema import approve_migrations

    if _is_unmade(settings):
        return ""
    with _opened(settings) as database:
        return "; ".join(approve_migrations(database))


@contextmanager
def _opened(settings: "Settings") -> Iterator["Database"]:
    from convergence.outside.home import Home
    from convergence.store.database import Database

    Home(settings.home).check_usable()
    database = Database(settings.database_url_text())
    try:
        yield database
    finally:
        database.close()


def _looked(call: Call, tenant: str | None) -> list[Row]:
    """The store, and the tables when it has all that is read of it and nobody holds them."""
    from convergence.engine import store_schema

    settings = call.settings()
    first = store_state(settings)
    if _is_unmade(settings):
        return [first | {"state": UNMADE}]
    if first["state"] != CURRENT:
        return [first, _warehouse_row(UNSEEN, "bring the store to its revision first")]
    with _opened(settings) as database:
        states = store_schema.store_states(database)
    rows = [_row(state) for state in states] if states[0].drifts else [first]
    if all(drift.is_harmless for state in states for drift in state.drifts):
        return [*rows, *_table_rows(call, tenant)]
    return [*rows, _warehouse_row(UNSEEN, "bring the store to its schema first")]


def _table_rows(call: Call, tenant: str | None) -> list[Row]:
    """From the server that holds them, if one does."""
    try:
        with call.client() as client:
            return client.schema(tenant)
    except Unavailable as error:
        return [_warehouse_row(UNSEEN, error.detail)]


def _row(state: "TableState") -> Row:
    from convergence.api import wire

    return wire.table_state_out(state).model_dump(mode="json")


def _show_statements(rows: Sequence[Row]) -> None:
    for row in rows:
        if row["statements"]:
            write(f"\n-- {row['place']}.{row['table']}")
        for statement in row["statements"]:
            write(f"{statement};")


def _brought(state: "TableState") -> Row:
    """With the beginnings of its statements, which are enough to be seen."""
    row = _row(state)
    done = "; ".join(map(_beginning, state.statements))
    if row["state"] == CURRENT and done:
        return row | {"state": MENDED, "detail": done}
    return row | {"detail": "; ".join(part for part in (row["detail"], done) if part)}


def _beginning(statement: str) -> str:
    head, cut, _ = statement.partition(" (")
    return f"{head[:BEGINNING]} …" if cut or len(head) > BEGINNING else head


def _also(row: Row, done: Sequence[str]) -> Row:
    if not done:
        return row
    state = MENDED if row["state"] == CURRENT else row["state"]
    return row | {"state": state, "detail": "; ".join([*done, row["detail"]])}


def _lines(row: Row) -> list[Row]:
    place = {"place": row["place"], "table": row["table"]}
    if not row["drifts"]:
        return [{**place, "drift": row["state"], "found": row["detail"]}]
    return [{**place, **drift} for drift in row["drifts"]]


def _end(rows: Sequence[Row]) -> None:
    seen = Counter(row["state"] for row in rows)
    good = seen[CURRENT] + seen[MENDED] + seen[MADE] + seen[UNMADE]
    if seen[FAILED] or seen[NEWER]:
        say(f"{seen[FAILED] + seen[NEWER]} cannot be brought to the schema")
        raise typer.Exit(ERROR)
    if good < len(rows):
        say("not everything is at the schema: cdp db check, cdp db migrate [--plan] [--approve]")
        raise typer.Exit(DRIFT)
