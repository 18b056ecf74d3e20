"""`cdp sample`: a made-up billing export to try things with, whose totals are known exactly."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convergence.cli.command import Call, command, group
from convergence.cli.output import Format, show_record, show_rows, write

if TYPE_CHECKING:
    from convergence.engine.sample import Made

COLUMNS = (
    "table",
    "files",
    "first",
    "last",
    "currency",
    "rows",
    "cost",
    "credits",
    "anomaly",
    "broken",
)
LAST = "2025-12-31"

app = group("A sample: two billing exports with known totals, to try things with.")

Folder = Annotated[
    Path | None, typer.Argument(help="Its folder; else `sample` in the home.", metavar="[FOLDER]")
]


@command(
    app,
    "generate",
    examples=(
        "cdp sample generate /tmp/bills",
        "cdp sample generate /tmp/bills --until 2026-03-31 --days 30 --seed 7",
    ),
)
def generate(
    call: Call,
    *,
    folder: Folder = None,
    days: Annotated[int, typer.Option(min=1, max=1000, help="So many usage days.")] = 92,
    until: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="The last of them.")] = LAST,
    seed: Annotated[int, typer.Option(help="Another seed gives other amounts.")] = 1,
    mend: Annotated[
        bool, typer.Option("--mend", help="Write the broken file of a sample anew, whole.")
    ] = False,
) -> None:
    """Write the exports as Parquet, and their exact totals as totals.json. Repeatable."""
    from convergence import wiring
    from convergence.cli.days import day
    from convergence.cli.progress import bar
    from convergence.engine import sample
    from convergence.model.sample.export import Sample

    place = _place(call, folder)
    last = date.fromisoformat(day(until) or until)
    wanted = Sample.until(last, days=days, seed=seed)
    with wiring.export_writer() as writer, bar("sample export") as advance:
        if mend:
            wanted = sample.read(place).sample
        made = sample.make(place, wanted, writer, mend=mend, progress=advance)
    _show(made, call.format)


@command(app, "info", examples=("cdp sample info", "cdp sample info /tmp/bills -o json"))
def describe(call: Call, *, folder: Folder = None) -> None:
    """Tell what a sample holds: its days, totals, anomaly, and the day whose file is broken."""
    from convergence.engine import sample

    _show(sample.read(_place(call, folder)), call.format)


def _place(call: Call, folder: Path | None) -> Path:
    return (folder or call.settings().home / "sample").expanduser().absolute()


def _show(made: "Made", form: Format) -> None:
    from convergence.engine.sample import facts

    rows = [{**each, "files": str(made.folder / each["files"])} for each in facts(made)]
    if form is not Format.TABLE:
        show_rows(rows, COLUMNS, form)
        return
    for each in rows:
        show_record({name: each[name] for name in COLUMNS}, form)
        write("")
