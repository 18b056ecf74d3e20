"""How a command fails: the one table error type -> exit code, and what stands on stderr."""

import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer

from convergence.cli.output import has_colour, plain
from convergence.errors import (
    Cancelled,
    CdpError,
    Conflict,
    Fault,
    Forbidden,
    Invalid,
    NotFound,
    QuotaExceeded,
    StepFailed,
    Unauthenticated,
    Unavailable,
    WarehouseError,
)

EXIT_CODES: Mapping[type[CdpError], int] = {
    CdpError: 1,
    Conflict: 1,
    StepFailed: 1,
    Cancelled: 1,
    Invalid: 2,
    QuotaExceeded: 3,
    NotFound: 4,
    Unauthenticated: 5,
    Forbidden: 5,
    Unavailable: 6,
    WarehouseError: 6,
}
INTERRUPTED = 130
ADVICE: Mapping[str, str] = {
    "tenant_not_found": "cdp tenants ls",
}
"""What helps at a command line where an error, which programs read too, names nothing itself."""


def exit_code(error: CdpError) -> int:
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def report(
    error: CdpError, *, debug: bool = False, tenant: str = "TENANT", otherwise: str = ""
) -> None:
    """Say what happened, where, and what to do: `otherwise` where the error says neither what
    nor at which line of a file.
    """
    if debug:
        traceback.print_exception(error)
    told_below = [fault for fault in error.faults[:1] if fault.file or fault.pointer]
    detail = error.detail.removesuffix(f": {told_below[0]}") if told_below else error.detail
    complain(detail)
    for fault in error.faults:
        lines = _excerpt(fault) if str(fault) in detail else _fault_lines(fault)
        for line in lines:
            typer.echo(plain(line), err=True)
    suggested = {fault.suggestion for fault in error.faults if fault.suggestion}
    hint = (error.hint or ADVICE.get(error.code, "")).replace("TENANT", tenant)
    if not hint and not suggested and not any(fault.file for fault in error.faults):
        hint = otherwise
    if hint not in suggested:
        advise(hint)


def complain(detail: str, hint: str = "") -> None:
    is_coloured = has_colour(sys.stderr)
    head = typer.style("error:", fg="red", bold=True) if is_coloured else "error:"
    typer.echo(f"{head} {plain(detail)}", err=True, color=is_coloured)
    advise(hint)


def advise(hint: str) -> None:
    if hint:
        typer.echo(f"try: {plain(hint)}", err=True)


def broke(error: Exception, *, debug: bool) -> int:
    """A fault of the program itself; its exit code."""
    if debug:
        traceback.print_exception(error)
    complain(f"internal error: {type(error).__name__}: {error}", "" if debug else "--debug")
    return EXIT_CODES[CdpError]


def _fault_lines(fault: Fault) -> Iterator[str]:
    where = f"{fault.file}:{fault.line}:{fault.column}" if fault.file else fault.pointer
    yield f"{where}  {fault.message}" if where else fault.message
    yield from _excerpt(fault)
    if fault.suggestion:
        yield f"try: {fault.suggestion}"


def _excerpt(fault: Fault) -> Iterator[str]:
    """The line of the source that the fault is about, with a caret under the place."""
    lines = _source_lines(fault.file)
    if 0 < fault.line <= len(lines):
        source = lines[fault.line - 1].replace("\t", " ")
    elif fault.excerpt:
        source = fault.excerpt.replace("\t", " ")
    else:
        return
    start = max(fault.column - 1, 0)
    width = max(len(source[start:].split(" ")[0]), 1)
    number = f"{fault.line:>5} | "
    yield f"{number}{source}"
    yield f"{' ' * (len(number) + start)}{'^' * width}"


def _source_lines(file: str) -> list[str]:
    try:
        return Path(file).read_text("utf-8").splitlines() if file else []
    except (OSError, ValueError):
        return []
