"""`cdp config`: the settings in force, and where each comes from."""

from typing import Annotated

import typer

from convergence.cli.command import Call, command, group
from convergence.cli.output import Format, show_record, show_rows

app = group("Settings: what is in force.")


@command(app, "show", examples=("cdp config show", "cdp config show --origin -o json"))
def show(
    call: Call,
    *,
    origin: Annotated[
        bool, typer.Option("--origin", help="Say where each comes from as well.")
    ] = False,
) -> None:
    """Show the settings; secrets are masked."""
    from convergence.settings import origins, variable

    settings = call.settings()
    values = settings.model_dump(mode="json")
    if not origin and call.format is not Format.TABLE:
        show_record(values, call.format)
        return
    found = origins(settings)
    rows = [
        {"setting": name, "value": value, "variable": variable(name), "origin": found[name]}
        for name, value in values.items()
    ]
    columns = ("setting", "value", "variable", "origin") if origin else ("setting", "value")
    show_rows(rows, columns, call.format)
