"""`cdp config`: the settings in force, where each comes from, and one of them changed."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from convergence.cli.command import Call, command, group
from convergence.cli.output import Format, say, show_record, show_rows
from convergence.errors import Unavailable

FILE = "cdp.toml"

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
    from convergence.settings.fields import origins
    from convergence.settings.places import variable

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


@command(app, "path", examples=("cdp config path", "cdp config path -o json"))
def paths(call: Call) -> None:
    """Say where settings and state are looked for, from here."""
    here = Path.cwd()
    places = {"settings": here / FILE, "secrets": here / ".env", "home": call.settings().home}
    rows = [
        {"what": what, "path": str(path), "exists": path.exists()} for what, path in places.items()
    ]
    show_rows(rows, ("what", "path", "exists"), call.format)


@command(
    app,
    "set",
    examples=("cdp config set port 9000", "cdp config set alert_allow ops@example.com -o json"),
    takes_negative=True,
)
def change(
    call: Call,
    *,
    name: Annotated[str, typer.Argument(help="As cdp config show names it.", metavar="NAME")],
    value: Annotated[str, typer.Argument(metavar="VALUE")],
) -> None:
    """Set a setting in the cdp.toml of this folder. Its other lines stay as they are."""
    from convergence.settings.fields import check_setting, origins

    name = name.lower().removeprefix("cdp_")
    checked = check_setting(name, value)
    file = Path.cwd() / FILE
    try:
        before = file.read_text("utf-8") if file.exists() else ""
        file.write_text(_changed(before, name, checked), "utf-8")
    except OSError as error:
        raise Unavailable(
            f"cannot write {file}: {error.strerror or error}",
            code="folder_unusable",
            hint="change to a folder that this user may write to",
        ) from error
    settings = call.settings()
    origin = origins(settings)[name]
    in_force = settings.model_dump(mode="json")[name]
    show_record({"setting": name, "value": in_force, "origin": origin}, call.format)
    if origin != FILE:
        say(f"{FILE} has it now, but what the {origin} says is stronger")


def _changed(text: str, name: str, value: str | float | bool) -> str:
    """The file with this line in place of the setting's, a comment or not; else at its end."""
    line = f"{name} = {json.dumps(value, ensure_ascii=False)}"
    for form in (rf"^{name}\s*=.*$", rf"^#\s*{name}\s*=.*$"):
        changed, count = re.subn(form, lambda _: line, text, count=1, flags=re.MULTILINE)
        if count:
            return changed
    return f"{text.rstrip()}\n{line}\n".lstrip("\n")
