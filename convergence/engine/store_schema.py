"""The control store beside its schema: whether a program can start on it, and bringing it there."""

from dataclasses import replace

from convergence.engine.at_schema import TableState
from convergence.errors import Unavailable
from convergence.model.drift import Drift, DriftKind, Verdict
from convergence.store import catalogue, mend
from convergence.store import migrate as store_migrations
from convergence.store.database import Database

STORE = "store"


def check_store(database: Database) -> None:
    """Raise Unavailable when the store lacks what this program works with."""
    with database.read() as tx:
        found = [drift for drift in catalogue.drifts(tx.connection) if not drift.is_harmless]
    if found:
        first = found[0]
        what = f"{first.kind} {first.table}.{first.column}".rstrip(".")
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise Unavailable(
            f"The control store is not at its schema: {what}{more}",
            code="schema_drifted",
            hint="cdp db check tells what differs; cdp db migrate mends it",
        )


def store_states(database: Database) -> list[TableState]:
    """The store's tables that differ; one row without a difference when none does."""
    with database.read() as tx:
        found = [*catalogue.drifts(tx.connection), *map(_other, store_migrations.changed(tx))]
    differing = list(dict.fromkeys(drift.table for drift in found))
    return [
        TableState(
            place=STORE, table=name, drifts=tuple(each for each in found if each.table == name)
        )
        for name in differing
    ] or [TableState(place=STORE, table="(all)")]


def _other(revision: str) -> Drift:
    """Nobody but the operator can tell whether it did the same."""
    kind, verdict = DriftKind.MIGRATION, Verdict.APPROVAL
    return Drift(table=f"migration {revision}", kind=kind, verdict=verdict)


def approve_migrations(database: Database) -> list[str]:
    """Take this program's migrations for those that were applied; what was approved so."""
    return [f"approved migration {each}" for each in store_migrations.approve(database)]


def bring_store(
    database: Database, *, approved: bool = False, is_plan: bool = False
) -> list[TableState]:
    """Mend the store, all of it or nothing. Raises CdpError."""
    act = mend.plan if is_plan else mend.mend
    statements = tuple(act(database, approved=approved))
    if not is_plan:
        with database.write() as tx:
            store_migrations.record(tx)
    seen = store_states(database)
    if is_plan and statements:
        return [*seen, TableState(place=STORE, table="(all)", statements=statements)]
    return [replace(seen[0], statements=statements), *seen[1:]]
