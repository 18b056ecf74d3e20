"""`cdp templates`: the pipelines there are to run, and whether a file of one's own is good."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from convergence.cli.command import Call, command, group
from convergence.cli.output import Format, show_record, show_rows, write
from convergence.errors import Invalid, NotFound

COLUMNS = ("template", "pipeline_id", "version", "description")
FAULT_COLUMNS = ("file", "line", "column", "message", "suggestion")

app = group("Templates: the YAML that describes pipelines.")


@command(app, "ls", examples=("cdp templates ls", "cdp templates ls -o json"))
def ls(call: Call) -> None:
    """List the templates."""
    with call.client() as client:
        show_rows(client.templates(), COLUMNS, call.format)


@command(
    app,
    "show",
    examples=(
        "cdp templates show gcp/cost/cost_billing",
        "cdp templates show gcp/cost/cost_billing -o json",
    ),
)
def show(
    call: Call,
    *,
    template: Annotated[str, typer.Argument(metavar="PROVIDER/DOMAIN/TEMPLATE")],
) -> None:
    """Show a template: as it is written, or in JSON as it is understood."""
    from convergence.model.template import check_ref

    with call.client() as client:
        shown = client.template(check_ref(template))
    if call.format is Format.TABLE:
        write(shown["yaml"].rstrip("\n"))
    else:
        show_record(shown, call.format)


@command(
    app,
    "validate",
    examples=(
        "cdp templates validate configs/gcp/cost/cost_billing.yml",
        "cdp templates validate gcp/cost/cost_billing -o json",
    ),
)
def validate(
    call: Call,
    *,
    template: Annotated[str, typer.Argument(metavar="FILE|PROVIDER/DOMAIN/TEMPLATE")],
) -> None:
    """Check a template; exit 2 with every fault: file, line, column, what to write instead."""
    from convergence import library
    from convergence.steps.base import step_models
    from convergence.steps.registry import STEP_TYPES

    models = step_models(STEP_TYPES)
    file, text = _found(template, call)
    try:
        library.parse(text, file=str(file), ref=_ref(file), step_models=models)
    except Invalid as error:
        if call.format is not Format.TABLE:
            show_rows([asdict(fault) for fault in error.faults], FAULT_COLUMNS, call.format)
        raise
    show_record({"template": _ref(file), "file": str(file), "valid": True}, call.format)


@command(
    app,
    "schema",
    examples=("cdp templates schema", "cdp templates schema > pipeline-template.json"),
)
def schema(call: Call) -> None:
    """Print the JSON Schema of templates, for an editor."""
    from convergence.model.template_schema import json_schema
    from convergence.steps.base import step_models
    from convergence.steps.registry import STEP_TYPES

    form = Format.JSON if call.format is Format.TABLE else call.format
    show_record(json_schema(step_models(STEP_TYPES)), form)


def _found(template: str, call: Call) -> tuple[Path, str]:
    """The file, given by its path or by its name in the library, and its text."""
    from convergence.library import Library
    from convergence.model.template import check_ref
    from convergence.wiring import SHIPPED_CONFIGS

    given = Path(template)
    if given.suffix in {".yml", ".yaml"}:
        try:
            return given, given.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NotFound(f"cannot read {given}: {error}", code="template_unreadable") from error
    ref = check_ref(template)
    shipped = next(path for path in SHIPPED_CONFIGS if path.is_dir())
    directory = call.settings().configs_dir or shipped
    text = Library(directory, {}).text(ref)
    return _from_here(directory / f"{ref}.yml"), text


def _from_here(file: Path) -> Path:
    here = Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file


def _ref(file: Path) -> str:
    return "/".join(file.absolute().with_suffix("").parts[-3:])
