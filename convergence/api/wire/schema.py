"""Tables beside their schemas, on the wire and in `cdp db`."""

from typing import TYPE_CHECKING

from convergence.api.wire.shape import Out

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convergence.engine.at_schema import TableState


class DriftOut(Out):
    """One difference; `column` is empty where it is about the table."""

    column: str
    drift: str
    wanted: str
    found: str
    verdict: str


class TableStateOut(Out):
    """`state` is current, drifted, schema_blocked or failed; `statements` were run, or would be."""

    place: str
    table: str
    state: str
    detail: str
    drifts: list[DriftOut]
    statements: list[str]


class SchemaOut(Out):
    items: list[TableStateOut]


def schema_out(states: "Iterable[TableState]") -> SchemaOut:
    return SchemaOut(items=[table_state_out(state) for state in states])


def table_state_out(state: "TableState") -> TableStateOut:
    drifts = [
        DriftOut(
            column=drift.column,
            drift=drift.kind.value,
            wanted=drift.wanted,
            found=drift.found,
            verdict=drift.verdict.value,
        )
        for drift in state.drifts
    ]
    said = [state.error] if state.error else [_said(drift) for drift in drifts]
    return TableStateOut(
        place=state.place,
        table=state.table,
        state=state.state.value,
        detail="; ".join([*said, *([state.hint] if state.hint else [])]),
        drifts=drifts,
        statements=list(state.statements),
    )


def _said(drift: DriftOut) -> str:
    named = " ".join(part for part in (drift.drift, drift.column) if part)
    sides = [said for said in (drift.found, drift.wanted) if said]
    differs = f": {', not '.join(sides)}" if sides else ""
    needs = "" if drift.verdict == "additive" else f" ({drift.verdict})"
    return f"{named}{differs}{needs}"
