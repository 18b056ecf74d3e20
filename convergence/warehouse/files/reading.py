"""A statement over source files as what DuckDB runs, and the answer it gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import duckdb
from sqlglot import exp

from convergence.errors import Invalid
from convergence.model.cancel import CancelToken
from convergence.model.load import FileState
from convergence.model.source import GrantedSource, check_kind, kind_of
from convergence.warehouse.files import export
from convergence.warehouse.files.export import Sight
from convergence.warehouse.files.shapes import Shapes, match_files
from convergence.warehouse.files.types import bigquery_columns
from convergence.warehouse.question import Explained, QueryLimits, Read
from convergence.warehouse.schemas import gcp_export
from convergence.warehouse.sql.dialect import to_duckdb
from convergence.warehouse.sql.names import Resolved
from convergence.warehouse.sql.notes import notes

FETCHED_AT_ONCE = 100
_SHORT = frozenset(
    {
        *("INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC", "BOOL"),
        *("DATE", "TIME", "DATETIME", "TIMESTAMP"),
    }
)
"""Types whose values have few characters: so many, more or less."""
_CHARACTERS_OF_SHORT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """DuckDB's statement, and the sources it reads, as they were looked at.

    `notes` say what of it is approximate.
    """

    sql: str
    notes: tuple[str, ...]
    sights: tuple[Sight, ...]


def prepare(cursor: duckdb.DuckDBPyConnection, resolved: Resolved, shapes: Shapes) -> Prepared:
    """Translate a statement that reads source files and no table.

    Raises Invalid, and StepFailed that names a file which cannot be read.
    """
    sights = sights_of(cursor, resolved, shapes)
    place = {ref: rows_of(sights[ref.source]) for ref in resolved.refs if ref.source}
    columns = dict.fromkeys(place, gcp_export().columns)
    sql = to_duckdb(resolved, place=place.__getitem__, columns=columns.__getitem__)
    found = notes(resolved, columns=columns.__getitem__)
    return Prepared(sql=sql, notes=found, sights=tuple(sights.values()))


def sights_of(
    cursor: duckdb.DuckDBPyConnection,
    resolved: Resolved,
    shapes: Shapes,
    days: Sequence[date] = (),
    cancel: CancelToken | None = None,
) -> dict[GrantedSource, Sight]:
    """The sources that a statement names, by table, at this moment. Raises StepFailed, Invalid."""
    sources = {ref.source for ref in resolved.refs if ref.source is not None}
    in_order = sorted(sources, key=lambda source: source.table)
    return {source: look(cursor, source, shapes, days, cancel) for source in in_order}


def rows_of(sight: Sight) -> exp.Subquery:
    """What stands for a source in a statement."""
    return export.relation(sight).subquery(copy=False)


def explained(cursor: duckdb.DuckDBPyConnection, tree: exp.Query, prepared: Prepared) -> Explained:
    """Let DuckDB check the statement's names and types; no row is read."""
    nothing = exp.Subquery(this=exp.Var(this=prepared.sql), alias=exp.to_identifier("rows_"))
    cursor.execute(exp.select("*").from_(nothing).limit(0).sql("duckdb"))
    return Explained(
        statement=tree.sql("bigquery", pretty=True),
        sql=prepared.sql,
        notes=prepared.notes,
        columns=tuple(bigquery_columns(cursor)),
        reads=tuple(_read(sight) for sight in prepared.sights),
    )


def _read(sight: Sight) -> Read:
    states = [shape.state for shape in sight.to_read]
    size = sum(state.size for state in states)
    matched = len(sight.shapes)
    return Read(source=sight.source.table, files=len(states), bytes=size, matched=matched)


def fetched(cursor: duckdb.DuckDBPyConnection, limits: QueryLimits) -> Iterator[tuple[object, ...]]:
    """The rows, one more than the limit at most. Raises Invalid when they hold too much text."""
    types = [type_.partition("(")[0] for _, type_ in bigquery_columns(cursor)]
    long = [place for place, type_ in enumerate(types) if type_ not in _SHORT]
    of_others = _CHARACTERS_OF_SHORT * (len(types) - len(long))
    characters = 0
    left = limits.rows + 1
    while left > 0 and (part := cursor.fetchmany(min(left, FETCHED_AT_ONCE))):
        characters += sum(len(str(row[place])) for row in part for place in long)
        characters += of_others * len(part)
        if characters > limits.characters:
            raise Invalid(
                f"the answer holds more than {limits.characters:,} characters",
                code="result_too_large",
                hint="ask for fewer rows or columns",
            )
        left -= len(part)
        yield from part


def files_of(source: GrantedSource) -> tuple[FileState, ...]:
    """The files that a source has at this moment, by path; none where nothing may be seen."""
    return match_files(source.files) if source.files and not source.shows_nothing else ()


def look(
    cursor: duckdb.DuckDBPyConnection,
    source: GrantedSource,
    shapes: Shapes,
    days: Sequence[date],
    cancel: CancelToken | None = None,
) -> Sight:
    """The source's files at this moment. Raises StepFailed, Invalid, and what the token says."""
    shapes_ = shapes.of(cursor, files_of(source), cancel)
    sight = Sight(source=source, shapes=shapes_, days=tuple(days))
    check_kind(source, kind_of(source, export.names_of(sight.shapes)))
    export.check_readable(sight)
    return sight


def look_at(
    cursor: duckdb.DuckDBPyConnection, source: GrantedSource, shapes: Shapes, path: str, day: date
) -> Sight:
    """One of the source's files, if it is there and can be read, and a day of it."""
    found = shapes.of(cursor, [file for file in files_of(source) if file.path == path])
    whole = tuple(shape for shape in found if not export.fault_of(shape))
    return Sight(source=source, shapes=whole, days=(day,))


def plain_rows(
    rows: Sequence[tuple[object, ...]], columns: Sequence[tuple[str, str]]
) -> Sequence[tuple[object, ...]]:
    """DuckDB gives times with pytz's UTC: Python's own is what everyone compares with."""
    zoned = [place for place, (_, type_) in enumerate(columns) if type_ == "TIMESTAMP"]
    return [_plain(row, zoned) for row in rows] if zoned else rows


def _plain(row: tuple[object, ...], zoned: Sequence[int]) -> tuple[object, ...]:
    values = list(row)
    for place in zoned:
        moment = values[place]
        values[place] = moment.astimezone(UTC) if isinstance(moment, datetime) else moment
    return tuple(values)
