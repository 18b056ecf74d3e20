"""`cdp init`: a folder of one's own to work in: settings, templates, an editor that knows them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from convergence.cli.command import Call, command
from convergence.cli.output import say, show_rows

COLUMNS = ("file", "what")
IGNORED = (".cdp/", ".env")
SCHEMA = "configs/pipeline-template.schema.json"
EDITOR = {"yaml.schemas": {f"./{SCHEMA}": "configs/*/*/*.yml"}}


def add_to(app: typer.Typer) -> None:
    command(app, "init", examples=("cdp init", "cdp init ~/bills -o json"))(init)


def init(
    call: Call,
    *,
    folder: Annotated[Path, typer.Argument(help="Where; else here.", metavar="[FOLDER]")] = Path(),
) -> None:
    """Write cdp.toml, .env.example, .gitignore, the templates and an editor's mapping.

    Overwrites nothing; a .gitignore that is there gets the lines that it lacks.
    """
    from convergence.errors import Unavailable

    folder = folder.expanduser()
    rows = []
    try:
        for name, text in _files():
            path = folder / name
            rows.append(_row(path, "kept" if path.exists() else _write(path, text)))
        rows.append(_row(folder / ".gitignore", _ignore(folder / ".gitignore")))
    except OSError as error:
        raise Unavailable(
            f"cannot write {error.filename}: {error.strerror or error}",
            code="folder_unusable",
            hint="choose a folder that this user may write to: cdp init FOLDER",
        ) from error
    show_rows(rows, COLUMNS, call.format)
    say("try: cdp doctor, then cdp demo or cdp tenants onboard TENANT --email ADDRESS")


def _write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return "written"


def _row(path: Path, what: str) -> dict[str, str]:
    return {"file": str(path), "what": what}


def _ignore(path: Path) -> str:
    """Keep state and secrets out of git. Lines that are there, with or without slashes, count."""
    before = path.read_text("utf-8") if path.exists() else ""
    known = {line.strip().strip("/") for line in before.splitlines()}
    lacking = [line for line in IGNORED if line.strip("/") not in known]
    if not lacking:
        return "kept"
    gap = "" if not before or before.endswith("\n") else "\n"
    _write(path, before + gap + "".join(f"{line}\n" for line in lacking))
    return "extended" if before else "written"


def _files() -> Iterator[tuple[str, str]]:
    """Each file's name and text. All shipped templates: a folder of them replaces the shipped."""
    from convergence.wiring import shipped_configs

    yield "cdp.toml", _toml()
    yield ".env.example", _dotenv()
    shipped = shipped_configs()
    for path in sorted([*shipped.rglob("*.yml"), *shipped.glob("*.json")]):
        yield f"configs/{path.relative_to(shipped)}", path.read_text("utf-8")
    yield ".vscode/settings.json", json.dumps(EDITOR, indent=2) + "\n"


def _toml() -> str:
    """Every setting with its meaning and its default as a comment, but for the templates' place."""
    from convergence.settings.fields import SECRETS, Settings

    lines = [
        "# Settings of cdp for this folder. The environment (CDP_HOME …) and .env are stronger.",
        "# Secrets belong in .env: see .env.example. What is in force: cdp config show --origin",
    ]
    for name, field in Settings.model_fields.items():
        if name not in SECRETS:
            default = field.default
            value = "" if default is None else default
            shown = sorted(value) if isinstance(value, frozenset) else value
            text = json.dumps(shown, default=str, ensure_ascii=False)
            active = 'configs_dir = "configs"' if name == "configs_dir" else f"# {name} = {text}"
            lines += ["", f"# {field.description}", active]
    return "\n".join(lines) + "\n"


def _dotenv() -> str:
    """The secrets, which are never in cdp.toml."""
    from convergence.settings.fields import SECRETS, Settings
    from convergence.settings.places import variable

    lines = ["# Copy to .env, which must never be committed, and fill in what is needed."]
    for name, field in Settings.model_fields.items():
        if name in SECRETS:
            lines += ["", f"# {field.description}", f"# {variable(name)}="]
    return "\n".join(lines) + "\n"
