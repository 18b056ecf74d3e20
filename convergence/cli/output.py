"""What a command prints: data on stdout as table, JSON, JSON lines or CSV; progress on stderr."""

import csv
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TextIO

import typer

from convergence.errors import Invalid
from convergence.outside.plain import escaped

Row = Mapping[str, Any]


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


def say(text: str) -> None:
    """Progress, for a person."""
    typer.echo(plain(text), err=True)


def show_rows(rows: Sequence[Row], columns: Sequence[str], form: Format, *, null: str = "") -> None:
    """A list. JSON has every member; a table and CSV have `columns`. Nothing is cut or wrapped.

    `null` is what stands in a table where there is no value.
    """
    check_text(form)
    if form is Format.JSON:
        write(_json(rows, indent=2))
    elif form is Format.JSONL:
        for row in rows:
            show_json_line(row)
    elif form is Format.CSV:
        lines = csv.writer(sys.stdout, lineterminator="\n")
        lines.writerow(columns)
        lines.writerows([_csv_cell(row.get(name)) for name in columns] for row in rows)
    else:
        write_table(rows, columns, null=null)


def check_text(form: Format) -> None:
    """Raise Invalid where a file is asked of a command that has none."""
    if form is Format.PARQUET:
        raise Invalid("this command has no Parquet", code="invalid_format", hint="-o csv")


def show_json_line(record: Row) -> None:
    """One of many that are shown as they come."""
    write(_json(record))


def show_record(record: Row, form: Format) -> None:
    """One thing: an object in JSON, one row in CSV, a line for each member in a table."""
    if form is Format.JSON:
        write(_json(record, indent=2))
    elif form is Format.TABLE:
        width = max(map(len, record), default=0)
        for name, value in record.items():
            write(f"{_bold(name.ljust(width))}  {cell(value)}".rstrip())
    else:
        show_rows([record], list(record), form)


def write_table(rows: Iterable[Row], columns: Sequence[str], *, null: str = "") -> None:
    """Columns side by side, as wide as their widest cell; numbers to the right."""
    head, *lines = table_lines(rows, columns, null=null)
    write(_bold(head))
    for line in lines:
        write(line)


def table_lines(rows: Iterable[Row], columns: Sequence[str], *, null: str = "") -> list[str]:
    """The lines of such a table, the names first."""
    values = [[row.get(name) for name in columns] for row in rows]
    cells = [[null if value is None else cell(value) for value in row] for row in values]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    to_right = [any(map(_is_number, column)) for column in zip(*values, strict=True)]
    to_right = to_right or [False] * len(columns)
    layout = list(zip(widths, to_right, strict=True))
    return [_line(row, layout) for row in (columns, *cells)]


def write(line: str) -> None:
    typer.echo(line, color=has_colour(sys.stdout))


def cell(value: object) -> str:
    """A value in one line of a table. Controls of a foreign text come out as escapes."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        return ", ".join(map(cell, value))
    text = _json(value) if isinstance(value, dict | list) else str(value)
    return escaped(text)


def plain(text: str) -> str:
    """The text without what steers a terminal, line ends excepted."""
    return "\n".join(map(escaped, text.split("\n")))


def has_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")


def _bold(text: str) -> str:
    return typer.style(text, bold=True) if has_colour(sys.stdout) else text


def _line(cells: Sequence[str], layout: Sequence[tuple[int, bool]]) -> str:
    return "  ".join(
        text.rjust(width) if to_right else text.ljust(width)
        for text, (width, to_right) in zip(cells, layout, strict=True)
    ).rstrip()


def _is_number(value: object) -> bool:
    """Whether it belongs to the right: a number, or a decimal, which travels as text."""
    if isinstance(value, str):
        return value.removeprefix("-").replace(".", "", 1).isdecimal() and "." in value
    return isinstance(value, int | float) and not isinstance(value, bool)


def _csv_cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _json(value) if isinstance(value, dict | list) else value


def _json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False)
