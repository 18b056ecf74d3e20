"""`cdp costs export`: a bill as a file, or to another program; whole, or not at all."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from convergence.cli.command import Call, Tenant, command
from convergence.cli.costs import By, Days, Filters, First, Last
from convergence.cli.output import Format, say
from convergence.errors import Invalid
from convergence.model.cost import FileFormat


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "export",
        examples=(
            "cdp costs export november.parquet --tenant acme --from 2024-11-01",
            "cdp costs export -t acme --focus -o csv",
        ),
    )(export)


def export(
    call: Call,
    *,
    file: Annotated[
        Path | None, typer.Argument(help="Where to write; else to stdout.", metavar="[FILE]")
    ] = None,
    tenant: Tenant,
    focus: Annotated[bool, typer.Option("--focus", help="With the columns of FOCUS 1.2.")] = False,
    date_from: First = None,
    date_to: Last = None,
    group_by: By = "",
    only: Filters = None,
    calendar: Days = "",
    output: Annotated[
        FileFormat | None,
        typer.Option("--output", "-o", help="How to write it; else by the file's name, or CSV."),
    ] = None,
) -> None:
    """Write the rows of a bill, or sums of groups, all of them."""
    from convergence.cli.days import day

    form = FileFormat.JSON if call.format is Format.JSON else output or _form_of(file)
    question: dict[str, Any] = {"from": day(date_from), "to": day(date_to), "filter": only}
    question |= {"group_by": group_by, "calendar": calendar, "focus": focus, "format": form.value}
    with call.client() as client:
        parts = client.export_costs(tenant, {name: v for name, v in question.items() if v})
        if file is not None:
            _write(parts, file)
        elif form is FileFormat.PARQUET and sys.stdout.isatty():
            raise Invalid("Parquet is nothing for a terminal", hint="name a file, or use a pipe")
        else:
            for part in parts:
                sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()


def _form_of(file: Path | None) -> FileFormat:
    ending = file.suffix.lower().removeprefix(".") if file else ""
    if ending and ending not in list(FileFormat):
        raise Invalid(
            f"{file}: .{ending} is no form of a file",
            code="invalid_format",
            hint=f"end its name with {', '.join(f'.{form}' for form in FileFormat)}, or add -o",
        )
    return FileFormat(ending) if ending else FileFormat.CSV


def _write(parts: Iterable[bytes], file: Path) -> None:
    """Under another name until it is whole."""
    part_of_it = file.with_name(f"{file.name}.part")
    try:
        with part_of_it.open("wb") as writing:
            writing.writelines(parts)
        part_of_it.replace(file)
    except OSError as error:
        raise Invalid(
            f"{file} cannot be written: {error.strerror}", code="file_not_written"
        ) from error
    finally:
        part_of_it.unlink(missing_ok=True)
    say(f"written: {file}")
