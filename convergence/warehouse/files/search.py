"""Search a file for the rows that a load cannot take: one more read, after a failure alone.

Each row is tried column by column, by the very rules that a load reads it by. For `trouble`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache

import duckdb
from sqlglot import exp

from convergence.errors import Cancelled
from convergence.model.cancel import CancelToken
from convergence.model.table import Column, Mode
from convergence.warehouse.bad_rows import SHOWN, BadRows, Place
from convergence.warehouse.files import convert, lines
from convergence.warehouse.files.convert import Found
from convergence.warehouse.files.export import DAY_COLUMN, Sight, found_in, granted, of_path, within
from convergence.warehouse.files.interrupt import interruptible
from convergence.warehouse.files.shapes import FileShape, Format, reader
from convergence.warehouse.files.types import SqlType
from convergence.warehouse.schemas import gcp_export
from convergence.warehouse.sql import fill

MOST = 1_000
"""So many unreadable rows are looked for: each is read by itself, and all that lie beside it."""
SECONDS = 20.0
_ROW = "x_row_of_file"
_LARGE = 10**24
"""Only amounts of such a size add up to more than NUMERIC holds."""
_SHOWN_CHARACTERS = 60
_WANTED = {
    "NUMERIC": "an amount",
    "TIMESTAMP": "a time",
    "FLOAT64": "a number",
    "BOOL": "true or false",
    "STRUCT": "a record",
}


_Columns = tuple[tuple[str, SqlType], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """`is_bad` is true of rows with the fault `what`, and cannot fail; `value` is shown of them."""

    what: str
    is_bad: exp.Expr
    value: exp.Expr = field(default_factory=exp.null)
    is_amount: bool = False


def unreadable(cursor: duckdb.DuckDBPyConnection, sight: Sight, shape: FileShape) -> list[BadRows]:
    """Rows with a value that is not what the export says, of the first `MOST` of them.

    Raises duckdb.Error for a file that cannot be read as rows at all, see `broken`.
    """
    read = shape.columns
    tests = {c: test for c in gcp_export().columns if (test := _conversion(c.name, c, c, read))}
    if not tests:
        return []
    allowed = _rows(sight, shape)
    suspects, is_part = _suspects(cursor, allowed, tests.values())
    if not suspects:
        return []
    row = exp.column(_ROW)
    rows = allowed.where(exp.In(this=row, expressions=list(map(exp.convert, suspects))))
    found: list[BadRows] = []
    for column in _failing(cursor, rows, tests):
        parts = list(_of_record(column, read)) if column.fields else []
        named = _search(cursor, shape, rows, parts) or _search(cursor, shape, rows, [tests[column]])
        found += [replace(bad, is_part=is_part) for bad in named]
    return found


def _suspects(
    cursor: duckdb.DuckDBPyConnection, rows: exp.Select, tests: Iterable[_Test]
) -> tuple[list[int], bool]:
    """The rows that fail by any of the tests, as far as they were found; whether there may be more.

    Streamed: where all that lies beside a bad row is slow to read, those of `SECONDS` are told.
    """
    is_any = exp.or_(*(test.is_bad for test in tests), copy=False)
    query = exp.select(_ROW).from_(rows.subquery("rows_allowed")).where(is_any, copy=False)
    found: list[int] = []
    try:
        with interruptible(cursor, None, SECONDS):
            cursor.execute(query.limit(MOST, copy=False).sql("duckdb"))
            while more := cursor.fetchmany(SHOWN):
                found += [row for (row,) in more]
    except Cancelled:
        return found, True
    return found, len(found) == MOST


def _failing(
    cursor: duckdb.DuckDBPyConnection, rows: exp.Select, tests: Mapping[Column, _Test]
) -> list[Column]:
    """The columns that fail in any of the rows."""
    query = exp.select(*(exp.func("BOOL_OR", test.is_bad) for test in tests.values()))
    query.from_(rows.subquery("rows_suspected"), copy=False)
    ((*failing,),) = cursor.execute(query.sql("duckdb")).fetchall()
    return [column for column, fails in zip(tests, failing, strict=True) if fails]


def without(
    cursor: duckdb.DuckDBPyConnection, sight: Sight, shape: FileShape, columns: Sequence[str]
) -> list[BadRows]:
    """Rows in which one of these columns of the export is NULL. Raises duckdb.Error."""
    values = {name: of_path(name, found_in(shape.columns)) for name in columns}
    tests = [
        _Test(what=f"{name} is NULL", is_bad=_tried(_is_null(value)))
        for name, value in values.items()
    ]
    return _search(cursor, shape, _rows(sight, shape), tests)


def excessive(cursor: duckdb.DuckDBPyConnection, sight: Sight, shape: FileShape) -> list[BadRows]:
    """Rows whose amounts are too large to be added up. Raises duckdb.Error."""
    held = found_in(shape.columns)
    amounts = {"cost": of_path("cost", held), "credits": _credits(held)}
    tests = [
        _Test(
            what=f"the sum of {name} is more than NUMERIC holds: amounts of 10^24 and more",
            is_bad=_tried(exp.Abs(this=amount) >= exp.Literal.number(_LARGE)),
            value=amount,
        )
        for name, amount in amounts.items()
    ]
    return _search(cursor, shape, _rows(sight, shape), tests)


def used_since(
    cursor: duckdb.DuckDBPyConnection, sight: Sight, shape: FileShape, moment: datetime
) -> list[BadRows]:
    """Rows of usage from a moment on. Raises duckdb.Error."""
    usage = of_path(DAY_COLUMN, found_in(shape.columns))
    test = _Test(
        what=DAY_COLUMN,
        is_bad=_tried(usage >= fill.literal(moment, exp.null())),
        value=usage,
    )
    return _search(cursor, shape, _rows(sight, shape), [test])


def broken(shape: FileShape, cancel: CancelToken) -> list[BadRows]:
    """Lines of text that are no rows at all. Raises what the token says."""
    if shape.format is Format.CSV:
        return lines.broken_csv(shape.path, len(shape.columns), cancel)
    if shape.format is Format.JSON:
        return lines.broken_json(shape.path, cancel)
    return []


def _of_record(column: Column, columns: _Columns) -> Iterator[_Test]:
    """The record as such, by its texts, which are never wrong by themselves; then the others."""
    texts = tuple(member for member in column.fields if member.type == "STRING")
    whole = _conversion(column.name, column, replace(column, fields=texts), columns)
    if whole is not None:
        yield whole
    for member in column.fields:
        alone = replace(column, fields=(member,))
        test = _conversion(f"{column.name}.{member.name}", member, alone, columns)
        if member.type != "STRING" and test is not None:
            is_record = exp.not_(whole.is_bad) if whole else exp.true()
            yield replace(test, is_bad=exp.and_(is_record, test.is_bad))


@lru_cache(maxsize=256)
def _conversion(name: str, said: Column, read: Column, columns: _Columns) -> _Test | None:
    """Whether what is read for `said` cannot be; None where the file lacks it. Kept as SQL, since
    it costs more to write than to run.
    """
    held = found_in(columns)
    value = convert.pick(read, held)
    if value is None:
        return None
    found = held.get(name) or held.get(name.partition(".")[0])
    wanted = "a list of records" if said.mode is Mode.REPEATED else _WANTED.get(said.type, "a text")
    hash_ = exp.Anonymous(this="HASH", expressions=[value.transform(_without_literal, copy=False)])
    return _Test(
        what=f"{name} is not {wanted}",
        is_bad=exp.Var(this=_is_null(_tried(hash_)).sql("duckdb")),
        value=found.value.copy() if found else exp.null(),
        is_amount=said.type == "NUMERIC",
    )


def _credits(held: Mapping[str, Found]) -> exp.Expr:
    """The amounts of a row's credits, without their signs, as a float: their sum may not fit."""
    amount = exp.Anonymous(this="ABS", expressions=[exp.cast(_member("c", "amount"), "DOUBLE")])
    each = exp.Lambda(this=amount, expressions=[exp.to_identifier("c")])
    amounts = exp.Transform(this=of_path("credits", held), expression=each)
    return exp.Anonymous(this="LIST_SUM", expressions=[amounts])


def _member(record: str, name: str) -> exp.Expr:
    return exp.Dot(this=exp.column(record), expression=exp.to_identifier(name))


def _search(
    cursor: duckdb.DuckDBPyConnection, shape: FileShape, rows: exp.Select, tests: Iterable[_Test]
) -> list[BadRows]:
    """What each test finds among the rows."""
    return [bad for test in tests if (bad := _tested(cursor, shape, rows, test)) is not None]


def _rows(sight: Sight, shape: FileShape) -> exp.Select:
    """The rows of a file that the sight allows, as they are, with their numbers. One that may be
    of the days is; one of which it cannot be told whether the tenant may see it is left out.
    """
    held = found_in(shape.columns)
    is_parquet = shape.format is Format.PARQUET
    number = exp.column("file_row_number") if is_parquet else exp.Window(this=exp.RowNumber())
    read = reader(shape.format, shape.columns, [shape.path])
    numbered = exp.select(exp.alias_(number, _ROW), "*").from_(read)
    rows = exp.select("*").from_(numbered.subquery("rows_of_file"))
    for condition, otherwise in ((granted(sight, held), False), (within(sight, held), True)):
        if condition is not None:
            known = exp.func("COALESCE", _tried(condition), exp.convert(otherwise))
            rows.where(known, copy=False)
    return rows


def _tested(
    cursor: duckdb.DuckDBPyConnection, shape: FileShape, rows: exp.Select, test: _Test
) -> BadRows | None:
    """A test stands in WHERE: elsewhere DuckDB reckons what two of them share outside of TRY."""
    row, first = exp.column(_ROW), exp.Literal.number(SHOWN)
    query = exp.select(
        exp.Count(this=exp.Star()),
        exp.Anonymous(this="MIN", expressions=[row, first]),
        exp.Anonymous(this="ARG_MIN", expressions=[_as_text(test.value), row.copy(), first.copy()]),
    )
    query.from_(rows.subquery("rows_allowed"), copy=False)
    query.where(test.is_bad, copy=False)
    ((count, where, values),) = cursor.execute(query.sql("duckdb")).fetchall()
    return _bad(shape, test, count, where, values) if count else None


def _bad(
    shape: FileShape, test: _Test, rows: int, first: list[int] | None, values: list[str] | None
) -> BadRows:
    shown = list(dict.fromkeys(value for value in values or [] if value))
    what = test.what
    if test.is_amount and shown and all(map(_is_number, shown)):
        what = f"{what.removesuffix('not an amount')}too large for NUMERIC"
    if shown:
        what += f" ({', '.join(map(repr, shown))})"
    place = Place.ROW if shape.format is Format.PARQUET else Place.RECORD
    return BadRows(what=what, rows=rows, where=first or [], place=place)


def _is_number(text: str) -> bool:
    try:
        return Decimal(text.strip()).is_finite()
    except InvalidOperation:
        return False


def _is_null(value: exp.Expr) -> exp.Expr:
    return exp.Is(this=value, expression=exp.null())


def _as_text(value: exp.Expr) -> exp.Expr:
    """The beginning of a value; '' for NULL, which ARG_MIN would pass over."""
    text = exp.cast(value.copy(), "VARCHAR", dialect="duckdb")
    start = exp.func("LEFT", text, exp.Literal.number(_SHOWN_CHARACTERS))
    return exp.func("COALESCE", _tried(start), exp.Literal.string(""))


def _tried(value: exp.Expr) -> exp.Expr:
    """The value, NULL where it cannot be reckoned. TRY takes no ERROR, which is volatile: its
    sentence is made another thing that fails.
    """
    return exp.Anonymous(this="TRY", expressions=[value.transform(_without_error)])


def _without_error(node: exp.Expr) -> exp.Expr:
    if not (isinstance(node, exp.Anonymous) and node.name.upper() == "ERROR"):
        return node
    fails = exp.cast(node.expressions[0].copy(), "BOOLEAN", dialect="duckdb")
    return exp.Case().when(fails, exp.null()).else_(exp.null())


def _without_literal(node: exp.Expr) -> exp.Expr:
    """Elements of a list are JSON: that they could be Python's literals costs most of the time."""
    if isinstance(node, exp.ArrayToString) and node.find_ancestor(exp.Lambda):
        tokens = node.find(exp.RegexpExtractAll)
        return tokens.this.copy() if tokens is not None else node
    return node
