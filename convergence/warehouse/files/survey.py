"""What the files of a source hold of each usage day, in one read over all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, timedelta

import duckdb
from sqlglot import exp

from convergence.model.cancel import CancelToken
from convergence.model.load import FileState
from convergence.model.source import GrantedSource, check_kind, kind_of
from convergence.model.unit import Unit, UnitDay
from convergence.warehouse.files import search
from convergence.warehouse.files.export import (
    DAY_COLUMN,
    Sight,
    columns_of,
    fault_of,
    names_of,
    relation,
)
from convergence.warehouse.files.shapes import (
    FILE_COLUMN,
    FileShape,
    Shapes,
    changed_since,
    digest,
)
from convergence.warehouse.files.sums import CREDITS_OF_ROW, or_empty
from convergence.warehouse.files.trouble import changed_while_read, fault_in, told_by_line
from convergence.warehouse.held import ACCOUNT, Group, Held, held_by_unit
from convergence.warehouse.schemas import gcp_export, totals_columns


def survey(
    cursor: duckdb.DuckDBPyConnection,
    source: GrantedSource,
    files: Sequence[FileState],
    known: Mapping[str, Unit],
    shapes: Shapes,
    cancel: CancelToken,
) -> tuple[Unit, ...]:
    """The units, one for each file; a file of known content is not read again.

    Raises StepInterrupted, Invalid, and what the token says.
    """
    hashes = {file.path: digest(file.path, cancel) for file in files}
    same, other = _parted(files, hashes, known)
    found = shapes.of(cursor, other, cancel)
    check_kind(source, kind_of(source, names_of(found)))
    held = _read(cursor, source, [shape for shape in found if not fault_of(shape)], cancel)
    _name_timeless(cursor, source, found, held, cancel)
    read = [_unit(shape, held.get(shape.path, Held()), hashes[shape.path]) for shape in found]
    if changed := changed_since(files):
        raise changed_while_read(changed)
    return (*same, *read)


def _parted(
    files: Sequence[FileState], hashes: Mapping[str, str], known: Mapping[str, Unit]
) -> tuple[list[Unit], list[FileState]]:
    """Units that were only touched, and the files with another content."""
    same, other = [], []
    for file in files:
        before = known.get(file.path)
        if before is not None and hashes[file.path] and before.content_hash == hashes[file.path]:
            same.append(replace(before, file=file))
        else:
            other.append(file)
    return same, other


def _read(
    cursor: duckdb.DuckDBPyConnection,
    source: GrantedSource,
    shapes: Sequence[FileShape],
    cancel: CancelToken,
) -> dict[str, Held]:
    """All files in one statement; when that fails, each by itself, to find the bad one."""
    try:
        return _sums(cursor, source, shapes)
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        if len(shapes) == 1:
            (shape,) = shapes
            fault = fault_in(cursor, Sight(source=source, shapes=(shape,)), shape, error, cancel)
            return {shape.path: _days_alone(cursor, source, shape, fault)}
    found: dict[str, Held] = {}
    for shape in shapes:
        found |= _read(cursor, source, [shape], cancel)
    return found


def _sums(
    cursor: duckdb.DuckDBPyConnection, source: GrantedSource, shapes: Sequence[FileShape]
) -> dict[str, Held]:
    if not shapes:
        return {}
    sight = Sight(source=source, shapes=tuple(shapes))
    rows = relation(sight, totals_columns(gcp_export(), ACCOUNT), with_file=True)
    month = exp.Dot(this=exp.column("invoice"), expression=exp.to_identifier("month"))
    keys = (exp.column(ACCOUNT), month, exp.column("cost_type"), exp.column("currency"))
    query = exp.select(
        FILE_COLUMN,
        exp.alias_(exp.cast(exp.column(DAY_COLUMN), "DATE", dialect="duckdb"), "usage_day"),
        *(exp.alias_(or_empty(value), f"key_{index}") for index, value in enumerate(keys)),
        exp.Count(this=exp.Star()),
        exp.func("SUM", exp.column("cost")),
        exp.func("SUM", CREDITS_OF_ROW.copy()),
        exp.func("MAX", exp.column("export_time")),
    )
    query = query.from_(rows.subquery("rows_of_source", copy=False))
    query = query.group_by(
        FILE_COLUMN, "usage_day", *(f"key_{index}" for index in range(len(keys)))
    )
    found = cursor.execute(query.sql("duckdb")).fetchall()
    return held_by_unit(Group(*row) for row in found)


def _days_alone(
    cursor: duckdb.DuckDBPyConnection, source: GrantedSource, shape: FileShape, fault: str
) -> Held:
    """Of a file whose money cannot be read: its days, if at least these can be told."""
    held = Held(fault=fault)
    column = next(column for column in gcp_export().columns if column.name == DAY_COLUMN)
    rows = relation(Sight(source=source, shapes=(shape,)), [column])
    day = exp.alias_(exp.cast(exp.column(DAY_COLUMN), "DATE", dialect="duckdb"), "usage_day")
    query = exp.select(day).distinct().from_(rows.subquery("rows_of_file", copy=False))
    try:
        found = cursor.execute(query.sql("duckdb")).fetchall()
    except duckdb.InterruptException:
        raise
    except duckdb.Error:
        return held
    for (day_,) in found:
        if day_ is not None:
            held.totals[day_] = {}
    return held


def _name_timeless(
    cursor: duckdb.DuckDBPyConnection,
    source: GrantedSource,
    shapes: Sequence[FileShape],
    held: Mapping[str, Held],
    cancel: CancelToken,
) -> None:
    """Rows without a usage time would be in no day: a fault of their file."""
    for shape in shapes:
        of_file = held.get(shape.path)
        if of_file is not None and of_file.timeless:
            sight = Sight(source=source, shapes=(shape,))
            of_file.fault = _timeless(cursor, sight, shape, cancel) or f"{DAY_COLUMN} is NULL"


def _timeless(
    cursor: duckdb.DuckDBPyConnection, sight: Sight, shape: FileShape, cancel: CancelToken
) -> str:
    try:
        found = search.without(cursor, sight, shape, [DAY_COLUMN])
    except duckdb.InterruptException:
        raise
    except duckdb.Error:
        return ""  # that there are such rows is known; which, is not
    return told_by_line(found, shape, cancel)


def _unit(shape: FileShape, held: Held, content_hash: str) -> Unit:
    fault = fault_of(shape) or held.fault
    return Unit(
        file=shape.state,
        content_hash=content_hash,
        columns=columns_of(shape),
        accounts=frozenset(held.accounts),
        days=held.days or (_days_by_statistics(shape) if fault else ()),
        fault=fault,
    )


def _days_by_statistics(shape: FileShape) -> tuple[UnitDay, ...]:
    """The days that a file which cannot be read may hold; none when it could be any."""
    if shape.first is None or shape.last is None:
        return ()
    first, last = shape.first.astimezone(UTC).date(), shape.last.astimezone(UTC).date()
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return tuple(UnitDay(day=day, totals={}) for day in days)
