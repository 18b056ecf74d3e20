"""A statement, its answer on stdout, and what the warehouse makes of it. For `cdp sql`."""

import sys
from typing import Any

from convergence.cli.command import Call
from convergence.cli.output import Format, say, show_record, show_rows, write
from convergence.errors import Invalid

FILES = (Format.CSV, Format.PARQUET)


def answer(call: Call, tenant: str | None, text: str, form: Format) -> None:
    """The answer on stdout; CSV and Parquet hold all of it, the other forms its beginning."""
    if form in FILES:
        _write_file(call, tenant, text, form)
        return
    with call.client() as client:
        result = client.query(tenant, text)
    columns = _unique([column["name"] for column in result["columns"]])
    rows = [dict(zip(columns, row, strict=True)) for row in result["rows"]]
    show_rows(rows, columns, form, null="NULL")
    if result["truncated"]:
        say(
            f"cut off after {result['row_count']} rows: add a LIMIT, aggregate, or take all: -o csv"
        )


def explain_statement(call: Call, tenant: str | None, text: str) -> None:
    with call.client() as client:
        explained = client.explain(tenant, text)
    if call.format is not Format.TABLE:
        show_record(explained, call.format)
        return
    write(explained["sql"])
    for column in explained["columns"]:
        say(f"column {column['name']}: {column['type']}")
    for read in explained["reads"]:
        say(_told(read))
    for note in explained["notes"]:
        say(f"approximate: {note}")


def _told(read: dict[str, Any]) -> str:
    return f"reads {read['files']} files of {read['source']}, {read['bytes']:,} bytes"


def _write_file(call: Call, tenant: str | None, text: str, form: Format) -> None:
    if form is Format.PARQUET and sys.stdout.isatty():
        raise Invalid("Parquet is not for a screen", code="invalid_format", hint="> answer.parquet")
    with call.client() as client:
        sys.stdout.flush()
        for piece in client.export(tenant, text, form.value):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _unique(names: list[str]) -> list[str]:
    """Names of columns; one that comes again gets a number, so that no value is lost."""
    return [
        f"{name}_{names[:place].count(name)}" if name in names[:place] else name
        for place, name in enumerate(names)
    ]
