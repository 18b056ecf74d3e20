"""The files of a source: which there are, how each is built, and which days it may hold."""

import csv
import hashlib
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from glob import escape, iglob
from pathlib import Path
from stat import S_ISREG
from threading import Lock

import duckdb
from sqlglot import exp

from convergence.model.cancel import CancelToken
from convergence.model.load import FileState
from convergence.warehouse.bad_rows import in_words
from convergence.warehouse.files import lines
from convergence.warehouse.files.lines import open_text
from convergence.warehouse.files.types import TEXT, SqlType, described
from convergence.warehouse.folders import folder_of
from convergence.warehouse.watched import watched

FILE_COLUMN = "x_source_file"
"""Each row's file, as a column of what `reader` reads."""


class Format(StrEnum):
    PARQUET = "Parquet"
    CSV = "CSV"
    JSON = "JSON"


_SUFFIXES = {
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".csv": Format.CSV,
    ".json": Format.JSON,
    ".ndjson": Format.JSON,
    ".jsonl": Format.JSON,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileShape:
    """One file: its columns, and the usage times it is known to hold (both None: not known).

    `fault` says why it cannot be read; then it has no columns and may hold any day.
    """

    state: FileState
    format: Format = Format.PARQUET
    columns: tuple[tuple[str, SqlType], ...] = ()
    first: datetime | None = None
    last: datetime | None = None
    fault: str = ""

    @property
    def path(self) -> str:
        return self.state.path

    def may_hold(self, day: date) -> bool:
        """Whether a row of that UTC day can be in it."""
        if self.first is None or self.last is None:
            return True
        start, end = day_bounds(day)
        return self.first < end and self.last >= start


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """The first moment of a UTC day, and of the next."""
    start = datetime.combine(day, time(), UTC)
    return start, start + timedelta(days=1)


def match_files(pattern: str) -> tuple[FileState, ...]:
    """The files a glob matches now, by path, each once, links resolved; one that leads out of
    the folder is itself.
    """
    folder = folder_of(pattern)
    names: dict[Path, list[Path]] = defaultdict(list)
    for match in map(Path, _matches(pattern)):
        path = match.resolve()
        names[path if path.is_relative_to(folder) else match].append(match)
    found = ((_state_of(path), matches) for path, matches in sorted(names.items()))
    return tuple(replace(state, links=_links(state, of)) for state, of in found if state)


def _links(state: FileState, names: Sequence[Path]) -> tuple[str, ...]:
    """Which of the names lead to the file by a link, where it has several."""
    if len(names) == 1:
        return ()
    itself = Path(state.path)
    return tuple(str(n) for n in sorted(names) if n.parent.resolve() / n.name != itself)


def _state_of(path: Path) -> FileState | None:
    """None for what is no file, or was renamed since it was matched."""
    try:
        stat = path.stat()
    except OSError:
        return None
    if not S_ISREG(stat.st_mode):
        return None
    return FileState(
        path=str(path),
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        ctime_ns=stat.st_ctime_ns,
    )


def changed_since(states: Iterable[FileState]) -> list[str]:
    """The files whose size or times are others now, or that are gone, and how they changed."""
    now = ((state, _state_of(Path(state.path))) for state in states)
    return [f"{before.path} ({_change(before, after)})" for before, after in now if after != before]


def _change(before: FileState, after: FileState | None) -> str:
    if after is None:
        return "gone"
    if after.size == before.size:
        return "written again"
    return f"{before.size:,} bytes, now {after.size:,}"


def digest(path: str, cancel: CancelToken) -> str:
    """The hash of a file's bytes; empty when it cannot be opened."""
    try:
        with Path(path).open("rb") as file, watched(file, cancel) as read:
            return hashlib.file_digest(read, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError:
        return ""


class Shapes:
    """Remembers the shape of files by what changes with their content: path, size and times."""

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._known: OrderedDict[FileState, FileShape] = OrderedDict()
        self._lock = Lock()

    def of(
        self,
        cursor: duckdb.DuckDBPyConnection,
        states: Iterable[FileState],
        cancel: CancelToken | None = None,
    ) -> tuple[FileShape, ...]:
        """The shape of each file; one that cannot be read has a `fault`, which is not kept.

        Raises what the token says, and duckdb.InterruptException.
        """
        return tuple(self._one(cursor, state, cancel) for state in states)

    def _one(
        self, cursor: duckdb.DuckDBPyConnection, state: FileState, cancel: CancelToken | None
    ) -> FileShape:
        with self._lock:
            known = self._known.get(state)
        if known is not None:
            return known
        shape = _describe(cursor, state, cancel)
        if not shape.fault:
            with self._lock:
                self._known[state] = shape
                if len(self._known) > self._most:
                    self._known.popitem(last=False)
        return shape


def reader(
    format_: Format, columns: tuple[tuple[str, SqlType], ...], paths: Iterable[str]
) -> exp.Expr:
    """A DuckDB table function over files of one build; texts stay texts, `FILE_COLUMN` is added."""
    options: dict[str, exp.Expr] = {
        "filename": exp.Literal.string(FILE_COLUMN),
        "hive_partitioning": exp.false(),
    }
    if format_ is not Format.PARQUET:
        options["columns"] = exp.Struct(
            expressions=[
                exp.PropertyEQ(
                    this=exp.to_identifier(name, quoted=True),
                    expression=exp.Literal.string("VARCHAR"),
                )
                for name, _ in columns
            ]
        )
    if format_ is Format.CSV:
        options |= _CSV_OPTIONS
    if format_ is Format.JSON:
        options["format"] = exp.Literal.string("auto")
    function = {Format.PARQUET: "read_parquet", Format.CSV: "read_csv", Format.JSON: "read_json"}
    return _table_function(function[format_], paths, options)


_CSV_OPTIONS: dict[str, exp.Expr] = {
    "auto_detect": exp.false(),
    "header": exp.true(),
    "delim": exp.Literal.string(","),
    "quote": exp.Literal.string('"'),
    "escape": exp.Literal.string('"'),
    "nullstr": exp.Array(expressions=[exp.Literal.string(""), exp.Literal.string("NULL")]),
}


def _table_function(name: str, paths: Iterable[str], options: dict[str, exp.Expr]) -> exp.Expr:
    named = [
        exp.EQ(this=exp.to_identifier(key), expression=value.copy())
        for key, value in options.items()
    ]
    files = exp.Array(expressions=[exp.Literal.string(escape(path)) for path in paths])
    return exp.Table(this=exp.Anonymous(this=name, expressions=[files, *named]))


_LEADS_OUT = "it is a link to a file outside of the source's folder, which no run may read"


def _describe(
    cursor: duckdb.DuckDBPyConnection, state: FileState, cancel: CancelToken | None
) -> FileShape:
    suffixes = [suffix.lower() for suffix in Path(state.path).suffixes if suffix != ".gz"]
    format_ = _SUFFIXES.get(suffixes[-1] if suffixes else "")
    if format_ is None:
        return FileShape(state=state, fault="its name ends in neither .parquet, .csv nor .json")
    if state.size == 0:
        return FileShape(state=state, format=format_, fault="it is empty")
    if Path(state.path).resolve() != Path(state.path):
        return FileShape(state=state, format=format_, fault=_LEADS_OUT)
    try:
        return _DESCRIBE[format_](cursor, state)
    except duckdb.InterruptException:
        raise
    except (duckdb.Error, *lines.UNREADABLE) as error:
        wrong = lines.broken_json(state.path, cancel) if format_ is Format.JSON else []
        return FileShape(state=state, format=format_, fault=in_words(wrong) or first_line(error))


def first_line(error: BaseException) -> str:
    """What an error says, on one line of reasonable length."""
    said = str(error).strip().splitlines()
    return (said[0] if said else type(error).__name__)[:300]


def _describe_parquet(cursor: duckdb.DuckDBPyConnection, state: FileState) -> FileShape:
    table = _table_function("read_parquet", [state.path], {"hive_partitioning": exp.false()})
    cursor.execute(exp.select("*").from_(table).limit(0).sql("duckdb"))
    types = _wide_told(described(cursor), cursor, state.path)
    time_type = types.get("usage_start_time")
    first = last = None
    if time_type is not None and time_type.id.startswith("timestamp"):
        first, last = _time_range(cursor, state.path)
    return FileShape(
        state=state,
        format=Format.PARQUET,
        columns=tuple(types.items()),
        first=first,
        last=last,
    )


def _wide_told(
    types: Mapping[str, SqlType], cursor: duckdb.DuckDBPyConnection, path: str
) -> dict[str, SqlType]:
    """The types, but decimals of more than 38 digits as what they are: DuckDB reads floats."""
    found = cursor.execute(
        "SELECT name, precision, scale FROM parquet_schema(?) WHERE precision > 38", [escape(path)]
    ).fetchall()
    wide = {name: f"DECIMAL({precision},{scale})" for name, precision, scale in found}

    def in_words(name: str, type_: SqlType) -> SqlType:
        if type_.id == "double" and name in wide:
            return SqlType(id="wide decimal", text=wide[name])
        members = type_.id == "struct"
        children = {
            key: in_words(key if members else name, child) for key, child in type_.children.items()
        }
        return replace(type_, children=children)

    return {name: in_words(name, type_) for name, type_ in types.items()} if wide else dict(types)


def _time_range(
    cursor: duckdb.DuckDBPyConnection, path: str
) -> tuple[datetime | None, datetime | None]:
    """The usage times by the statistics; None unless all row groups have them and no NULL."""
    low, high, complete = cursor.execute(
        "SELECT min(CAST(stats_min_value AS TIMESTAMPTZ)),"
        " max(CAST(stats_max_value AS TIMESTAMPTZ)),"
        " bool_and(stats_min_value IS NOT NULL AND stats_max_value IS NOT NULL"
        " AND stats_null_count = 0)"
        " FROM parquet_metadata(?) WHERE path_in_schema = 'usage_start_time'",
        [escape(path)],
    ).fetchall()[0]
    return (low, high) if complete else (None, None)


def _describe_csv(_: duckdb.DuckDBPyConnection, state: FileState) -> FileShape:
    with open_text(state.path) as text:
        header = next(csv.reader(text, strict=True), None)
    if header and not lines.is_utf8("".join(header)):
        raise ValueError("it is not in UTF-8")
    if not header:
        raise ValueError("it has no header")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise ValueError("its fields are not parted by commas")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"its header names {', '.join(twice)} twice")
    return FileShape(state=state, format=Format.CSV, columns=tuple((name, TEXT) for name in header))


def _describe_json(cursor: duckdb.DuckDBPyConnection, state: FileState) -> FileShape:
    """By the keys of all its rows: an export leaves out what is NULL."""
    table = _table_function(
        "read_json_objects", [state.path], {"format": exp.Literal.string("auto")}
    )
    keys = exp.Anonymous(this="unnest", expressions=[exp.func("json_keys", exp.column("json"))])
    query = exp.select(exp.alias_(keys, "name")).distinct().from_(table)
    names = sorted(name for (name,) in cursor.execute(query.sql("duckdb")).fetchall())
    return FileShape(state=state, format=Format.JSON, columns=tuple((name, TEXT) for name in names))


_DESCRIBE = {
    Format.PARQUET: _describe_parquet,
    Format.CSV: _describe_csv,
    Format.JSON: _describe_json,
}


def _matches(pattern: str) -> Iterator[str]:
    return iglob(pattern, recursive=True)  # noqa: PTH207 - the pattern is absolute and a user's
