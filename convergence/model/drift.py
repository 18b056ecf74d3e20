"""How a table differs from its schema, what each difference means, and the shape to bring it to.

Knows no engine: a catalogue is read into a TableSchema first. For `engine/migrate.py`, and for
what reads and mends catalogues.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from convergence.model.table import Column, Mode, TableSchema

WIDER = {
    "INT64": frozenset({"NUMERIC", "BIGNUMERIC"}),
    "NUMERIC": frozenset({"BIGNUMERIC"}),
    "TINYINT": frozenset({"INT64"}),
    "SMALLINT": frozenset({"INT64"}),
    "INTEGER": frozenset({"INT64", "BIGINT"}),
    "FLOAT": frozenset({"FLOAT64"}),
    "VARCHAR": frozenset({"TEXT"}),
}
"""Types, and those that hold each of their values exactly."""
_DECIMAL = re.compile(r"NUMERIC(?:\((\d+),\s*(\d+)\))?")
_PLAIN = 38, 9
"""Digits and places of NUMERIC."""


class DriftKind(StrEnum):
    TABLE = "missing table"
    COLUMN = "missing column"
    TYPE = "type"
    MODE = "mode"
    DEFAULT = "default"
    ORDER = "order"
    PARTITION = "partition"
    CLUSTERING = "clustering"
    EXTRA = "extra column"
    CONSTRAINT = "missing constraint"
    INDEX = "missing index"
    RETIRED = "retired name"
    MIGRATION = "other migration"
    """One that was applied had another text."""


class Verdict(StrEnum):
    ADDITIVE = "additive"
    """Nothing is lost, and each row has one right value: mended without a question."""
    APPROVAL = "needs approval"
    """It drops a column, or may be refused by rows that are there."""
    FORBIDDEN = "forbidden"
    """No statement mends it without losing or inventing something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One difference. `column` is "" where it is about the table, else a column or an index."""

    table: str
    kind: DriftKind
    verdict: Verdict
    column: str = ""
    wanted: str = ""
    found: str = ""
    is_demanded: bool = False
    """An extra column that each row must have a value in: nobody gives it one."""

    @property
    def is_harmless(self) -> bool:
        """Whether a program that knows the schema works on it all the same."""
        return self.kind in _HARMLESS and not self.is_demanded


_HARMLESS = {
    DriftKind.ORDER,
    DriftKind.DEFAULT,
    DriftKind.EXTRA,
    DriftKind.CLUSTERING,
    DriftKind.INDEX,
    DriftKind.RETIRED,
    DriftKind.MIGRATION,
}


def compare(wanted: TableSchema, live: TableSchema | None) -> tuple[Drift, ...]:
    """Every difference, in the order of the columns. `live` None is a table that is not there."""
    if live is None:
        table = Drift(table=wanted.name, kind=DriftKind.TABLE, verdict=Verdict.ADDITIVE)
        return (table,)
    return (*_of_columns(wanted, live), *_of_table(wanted, live))


def aim(wanted: TableSchema, live: TableSchema | None, *, approved: bool = False) -> TableSchema:
    """The shape to bring the table to now: the schema's, and what may not be changed as it is;
    how long days are kept is whoever's choice.

    `approved`: also what needs approval; what is forbidden stays, whoever approves.
    """
    if live is None:
        return wanted
    there = {column.name: column for column in live.columns}
    columns = [
        _aim(column, there[column.name], approved=approved) if column.name in there else column
        for column in wanted.columns
        if column.name in there or approved or _verdict_of_missing(column) is Verdict.ADDITIVE
    ]
    extra = () if approved else _extra(wanted, live)
    return replace(
        wanted,
        columns=(*columns, *extra),
        partition_by=live.partition_by,
        expiration_days=live.expiration_days,
    )


def is_in_place(aimed: TableSchema, live: TableSchema) -> bool:
    """Whether columns added at the end, and looser ones, lead there; else rows are written anew."""
    pairs = list(zip(live.columns, aimed.columns, strict=False))
    return len(live.columns) <= len(aimed.columns) and all(
        (old.name, old.type) == (new.name, new.type)
        and (old.mode is new.mode or new.mode is Mode.NULLABLE)
        for old, new in pairs
    )


def same_default(one: str | None, other: str | None) -> bool:
    return _plain(one) == _plain(other)


def _plain(default: str | None) -> str:
    text = (default or "").strip().removesuffix("()")
    return text if text.startswith("'") else text.upper()


def _of_columns(wanted: TableSchema, live: TableSchema) -> Iterator[Drift]:
    there = {column.name: column for column in live.columns}
    for column in wanted.columns:
        found = there.get(column.name)
        if found is None:
            verdict = _verdict_of_missing(column)
            yield _drift(wanted, column, DriftKind.COLUMN, verdict, column.type, "")
        else:
            yield from _of_column(wanted, column, found)
    for column in _extra(wanted, live):
        drift = _drift(wanted, column, DriftKind.EXTRA, Verdict.APPROVAL, "", column.type)
        is_demanded = column.mode is Mode.REQUIRED and column.default is None
        said = f"{column.type} REQUIRED" if is_demanded else column.type
        yield replace(drift, is_demanded=is_demanded, found=said)


def _of_column(wanted: TableSchema, column: Column, found: Column) -> Iterator[Drift]:
    if _is_other(column, found):
        verdict = Verdict.APPROVAL if _widens(found, column) else Verdict.FORBIDDEN
        yield _drift(wanted, column, DriftKind.TYPE, verdict, column.type, found.type)
        return
    if column.mode is not found.mode:
        tightens = column.mode is Mode.REQUIRED and column.default is None
        verdict = Verdict.APPROVAL if tightens else Verdict.ADDITIVE
        yield _drift(wanted, column, DriftKind.MODE, verdict, column.mode, found.mode)
    if not same_default(column.default, found.default):
        verdict = Verdict.ADDITIVE
        said = column.default or "none", found.default or "none"
        yield _drift(wanted, column, DriftKind.DEFAULT, verdict, *said)


def _of_table(wanted: TableSchema, live: TableSchema) -> Iterator[Drift]:
    known = [name for name in live.column_names if name in wanted.column_names]
    right = [name for name in wanted.column_names if name in live.column_names]
    for kind, verdict, one, other in (
        (DriftKind.ORDER, Verdict.ADDITIVE, right, known),
        (
            DriftKind.PARTITION,
            Verdict.FORBIDDEN,
            [wanted.partition_by or "none"],
            [live.partition_by or "none"],
        ),
        (DriftKind.CLUSTERING, Verdict.ADDITIVE, list(wanted.cluster_by), list(live.cluster_by)),
    ):
        if one != other:
            wants, finds = ", ".join(one), ", ".join(other)
            yield Drift(table=wanted.name, kind=kind, verdict=verdict, wanted=wants, found=finds)


def _drift(
    table: TableSchema, column: Column, kind: DriftKind, verdict: Verdict, wants: str, finds: str
) -> Drift:
    return Drift(
        table=table.name, kind=kind, verdict=verdict, column=column.name, wanted=wants, found=finds
    )


def _verdict_of_missing(column: Column) -> Verdict:
    has_value = column.mode is not Mode.REQUIRED or column.default is not None
    return Verdict.ADDITIVE if has_value else Verdict.APPROVAL


def _widens(found: Column, column: Column) -> bool:
    if found.mode is not column.mode:
        return False
    return column.type in WIDER.get(found.type, ()) or _fits(found.type, column.type)


def _fits(found: str, wanted: str) -> bool:
    """Whether the one decimal has room for each value of the other, before and behind the point."""
    one, other = _DECIMAL.fullmatch(found), _DECIMAL.fullmatch(wanted)
    if one is None or other is None:
        return False
    (digits, places), (most, behind) = (
        (int(each[1]), int(each[2])) if each[1] else _PLAIN for each in (one, other)
    )
    return places <= behind and digits - places <= most - behind


def _extra(wanted: TableSchema, live: TableSchema) -> tuple[Column, ...]:
    return tuple(column for column in live.columns if column.name not in wanted.column_names)


def _is_other(column: Column, found: Column) -> bool:
    """Whether the one is a list, or of a type, that the other is not."""
    lists = {column.mode is Mode.REPEATED, found.mode is Mode.REPEATED}
    return column.type != found.type or len(lists) > 1


def _aim(column: Column, found: Column, *, approved: bool) -> Column:
    if _is_other(column, found):
        return column if approved and _widens(found, column) else found
    tightens = column.mode is Mode.REQUIRED and column.default is None
    if tightens and not approved:
        return replace(column, mode=found.mode)
    return column
