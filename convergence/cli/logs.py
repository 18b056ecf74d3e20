"""`cdp logs`: the service's log of a home, filtered, and as it grows."""

import json
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from convergence.cli.command import AnyTenant, Call, command
from convergence.cli.lines import Severity, is_at_least, log_line
from convergence.cli.output import Format, show_json_line, show_rows, write
from convergence.errors import Invalid, NotFound

COLUMNS = ("timestamp", "severity", "message", "tenant_id", "run_id", "step_id", "request_id")
LOOK_SECONDS = 0.3


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "logs",
        examples=("cdp logs -f", "cdp logs --request REQUEST_ID -o jsonl"),
    )(logs)


def logs(
    call: Call,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="The last so many.")] = 100,
    run: Annotated[str | None, typer.Option(help="Only of this run.")] = None,
    request: Annotated[str | None, typer.Option(help="Only of this request.")] = None,
    tenant: AnyTenant = None,
    level: Annotated[
        Severity, typer.Option(case_sensitive=False, help="What matters as much, or more.")
    ] = Severity.debug,
) -> None:
    """Show the service's log, as it lies in the home: what the server and commands wrote."""
    if call.server is not None:
        raise Invalid(
            "the service's log lies on the machine of the server",
            code="log_elsewhere",
            hint="there: cdp logs; here, for one run: cdp runs logs RUN_ID --server URL",
        )
    named = {"run_id": run, "request_id": request, "tenant_id": tenant}
    wanted = {name: value for name, value in named.items() if value is not None}

    def is_wanted(record: Mapping[str, Any]) -> bool:
        fits = all(record.get(name) == value for name, value in wanted.items())
        return fits and is_at_least(str(record.get("severity")), level)

    path = call.settings().home / "logs" / "cdp.log"
    if not path.exists() and not follow:
        raise NotFound(f"no log at {path}", code="log_not_found", hint="is --home right?")
    growing = Growing(path)
    old = deque(filter(is_wanted, growing.news()), maxlen=lines)
    if call.format in (Format.JSON, Format.CSV) and not follow:
        show_rows(list(old), COLUMNS, call.format)
        return
    for record in old:
        _show(record, call.format)
    while follow:
        for record in filter(is_wanted, growing.news()):
            _show(record, call.format)
        time.sleep(LOOK_SECONDS)


def _show(record: Mapping[str, Any], form: Format) -> None:
    if form is Format.TABLE:
        write(log_line(record))
    else:
        show_json_line(record)


class Growing:
    """A log's files: what was added to them, also when the newest is put away meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: dict[int, int] = {}
        """Bytes that were read, by the file's number."""

    def news(self) -> Iterator[dict[str, Any]]:
        """What came since the last time, the oldest first; a line that is not whole waits."""
        for path in (*self._put_away(), self._path):
            with suppress(FileNotFoundError), path.open("rb") as file:
                number = os.fstat(file.fileno()).st_ino
                start = file.seek(self._read.get(number, 0))
                whole, newline, _ = file.read().rpartition(b"\n")
                self._read[number] = start + len(whole + newline)
                yield from _records(whole)

    def _put_away(self) -> list[Path]:
        """cdp.log.5, cdp.log.4, …"""
        found = self._path.parent.glob(f"{self._path.name}.*")
        numbered = [path for path in found if path.suffix[1:].isdecimal()]
        return sorted(numbered, key=lambda path: int(path.suffix[1:]), reverse=True)


def _records(text: bytes) -> Iterator[dict[str, Any]]:
    """The lines that are a record; a torn one is left out."""
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
