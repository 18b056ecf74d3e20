"""The files of a granted source as one relation in the shape of the export, in DuckDB's SQL.

Files may be nested or flattened to dotted names, typed or text, and differ in columns: each build
of file gets its own SELECT, columns are found by name, what a file lacks is NULL. Money is exact
from here on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property, lru_cache
from itertools import groupby

from sqlglot import exp

from convergence.model.load import FileState
from convergence.model.source import GrantedSource
from convergence.model.table import Column
from convergence.model.unit import broken_source
from convergence.warehouse.files import convert
from convergence.warehouse.files.convert import Found, WrongType
from convergence.warehouse.files.shapes import FILE_COLUMN, FileShape, Format, day_bounds, reader
from convergence.warehouse.files.types import SqlType
from convergence.warehouse.schemas import gcp_export, whole_columns

DAY_COLUMN = "usage_start_time"


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A source as it was when it was looked at: all its files, and those to read for `days`.

    Without days, all of them are read.
    """

    source: GrantedSource
    shapes: tuple[FileShape, ...]
    days: tuple[date, ...] = ()

    @cached_property
    def to_read(self) -> tuple[FileShape, ...]:
        if not self.days:
            return self.shapes
        return tuple(shape for shape in self.shapes if any(map(shape.may_hold, self.days)))

    @cached_property
    def states_to_read(self) -> frozenset[FileState]:
        return frozenset(shape.state for shape in self.to_read)

    @cached_property
    def paths(self) -> frozenset[str]:
        return frozenset(shape.path for shape in self.shapes)


def check_readable(sight: Sight) -> None:
    """Raise StepFailed that names every file which may hold the days and cannot be read."""
    faults = [f"{shape.path}: {fault}" for shape in sight.to_read if (fault := fault_of(shape))]
    if faults:
        raise broken_source(sight.source.table, "; ".join(faults))


def relation(
    sight: Sight, columns: Sequence[Column] | None = None, *, with_file: bool = False
) -> exp.Query:
    """The rows of the days that the grant allows, as typed columns (default: all of the export).

    `with_file` adds `FILE_COLUMN`, and keeps rows without a usage time, which belong to no day.
    """
    wanted = tuple(gcp_export().columns if columns is None else columns)
    shapes = sorted(sight.to_read, key=_build)
    parts = [
        _select(sight, list(group), wanted, with_file=with_file)
        for _, group in groupby(shapes, key=_build)
    ]
    if not parts:
        parts = [_empty(wanted, with_file=with_file)]
    union: exp.Query = parts[0]
    for part in parts[1:]:
        union = exp.union(union, part, distinct=False, copy=False)
    return union


def names_of(shapes: Sequence[FileShape]) -> set[str]:
    """The columns that any of the files has."""
    return {name for shape in shapes for name, _ in shape.columns}


def columns_of(shape: FileShape) -> frozenset[str]:
    """The columns of the export that a file has. JSON leaves out what is NULL, and so tells of no
    lost column: then none.
    """
    if shape.format is Format.JSON:
        return frozenset()
    known = {column.name for column in gcp_export().columns}
    return frozenset(name.split(".")[0] for name, _ in shape.columns) & known


def _build(shape: FileShape) -> tuple[str, tuple[tuple[str, str], ...]]:
    return shape.format, tuple((name, type_.text) for name, type_ in shape.columns)


def fault_of(shape: FileShape) -> str:
    """Why the file cannot be read as an export; empty when it can."""
    return shape.fault or _misbuilt(shape.columns)


@lru_cache(maxsize=256)
def _misbuilt(columns: tuple[tuple[str, SqlType], ...]) -> str:
    """What of the export's columns is missing or of a wrong type; empty when all is well."""
    schema = gcp_export()
    available = found_in(columns)
    lacking = whole_columns(path for path in schema.required if not _has(path, available))
    if lacking:
        said = "it lacks the column " + ", ".join(lacking)
        is_written_otherwise = {name.lower() for name in available} & {*lacking}
        return f"{said}: names are in small letters" if is_written_otherwise else said
    try:
        for column in schema.columns:
            convert.pick(column, available)
    except WrongType as wrong:
        return str(wrong)
    return ""


def _has(path: str, available: Mapping[str, Found]) -> bool:
    """Whether a required column, or member of a record, is in a file in any of its forms."""
    if path in available:
        return True
    record, _, member = path.partition(".")
    found = available.get(record)
    return bool(member) and found is not None and found.may_have(member)


def found_in(columns: Sequence[tuple[str, SqlType]]) -> dict[str, Found]:
    return {name: Found(exp.column(name, quoted=True), type_) for name, type_ in columns}


def _select(
    sight: Sight, shapes: list[FileShape], wanted: tuple[Column, ...], *, with_file: bool
) -> exp.Select:
    first = shapes[0]
    query = exp.Select(
        expressions=[exp.Var(this=sql) for sql in _projection(first.columns, wanted)]
    )
    query.from_(reader(first.format, first.columns, [shape.path for shape in shapes]), copy=False)
    if with_file:
        query.select(exp.column(FILE_COLUMN), copy=False)
    for condition in _conditions(sight, found_in(first.columns), with_file=with_file):
        query.where(condition, copy=False)
    return query


@lru_cache(maxsize=256)
def _projection(
    columns: tuple[tuple[str, SqlType], ...], wanted: tuple[Column, ...]
) -> tuple[str, ...]:
    """DuckDB's SQL of the wanted columns; kept, since it costs more to write than to run."""
    available = found_in(columns)
    return tuple(_column(column, available).sql("duckdb") for column in wanted)


def _column(column: Column, available: Mapping[str, Found]) -> exp.Expr:
    value = convert.pick(column, available) or convert.absent(column)
    return exp.alias_(value, column.name, quoted=True)


def _conditions(sight: Sight, available: Mapping[str, Found], *, with_file: bool) -> list[exp.Expr]:
    """The grant before the day: rows that a tenant may not see are not even understood."""
    allowed, of_days = granted(sight, available), within(sight, available)
    if of_days is None:
        return [allowed] if allowed is not None else []
    if with_file:
        unknown = exp.Is(this=of_path(DAY_COLUMN, available), expression=exp.null())
        of_days = exp.or_(of_days, unknown)
    if allowed is None:
        return [of_days]
    return [exp.Case().when(allowed, of_days).else_(exp.false())]


def granted(sight: Sight, available: Mapping[str, Found]) -> exp.Expr | None:
    """Whether the tenant may see a row; None where all may be seen."""
    conditions: list[exp.Expr] = []
    for path, allowed in (
        ("billing_account_id", sight.source.billing_account_ids),
        ("project.id", sight.source.project_ids),
    ):
        if allowed:
            values = [exp.Literal.string(value) for value in allowed]
            conditions.append(exp.In(this=of_path(path, available), expressions=values))
    return exp.and_(*conditions) if conditions else None


def within(sight: Sight, available: Mapping[str, Found]) -> exp.Expr | None:
    """Whether a row is of one of the days; None where all are."""
    if not sight.days:
        return None
    return exp.or_(*(_within(available, *span) for span in _spans(sight.days)))


def of_path(path: str, available: Mapping[str, Found]) -> exp.Expr:
    """A top-level column of the export, or a member of a record."""
    name, _, member = path.partition(".")
    column = next(column for column in gcp_export().columns if column.name == name)
    if not member:
        return convert.pick(column, available) or convert.absent(column)
    only = replace(column, fields=tuple(f for f in column.fields if f.name == member))
    record = convert.pick(only, available) or convert.absent(only)
    return exp.Anonymous(this="STRUCT_EXTRACT", expressions=[record, exp.Literal.string(member)])


def _spans(days: Sequence[date]) -> Iterator[tuple[date, date]]:
    """The first and the last day of each unbroken row of days."""
    ordered = sorted(days)
    ends = [day for day in ordered if day + timedelta(days=1) not in days]
    return zip((day for day in ordered if day - timedelta(days=1) not in days), ends, strict=True)


def _within(available: Mapping[str, Found], first: date, last: date) -> exp.Expr:
    """The UTC days' rows; on the file's own column where that lets DuckDB skip row groups."""
    found = available[DAY_COLUMN]
    is_plain = found.type.id in convert.ZONELESS
    value = found.value.copy() if is_plain else of_path(DAY_COLUMN, available)
    type_ = "TIMESTAMP" if is_plain else "TIMESTAMPTZ"
    start, end = (
        exp.cast(exp.Literal.string(f"{moment:%Y-%m-%d %H:%M:%S}"), type_, dialect="duckdb")
        for moment in (day_bounds(first)[0], day_bounds(last)[1])
    )
    return exp.and_(
        exp.GTE(this=value, expression=start), exp.LT(this=value.copy(), expression=end)
    )


def _empty(wanted: tuple[Column, ...], *, with_file: bool) -> exp.Select:
    nothing = exp.select(*(_column(column, {}) for column in wanted)).where(exp.false())
    return nothing.select(exp.alias_(exp.Literal.string(""), FILE_COLUMN)) if with_file else nothing
