"""`cdp templates`: the pipelines there are to run, and whether a file of one's own is good."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from convergence.cli.command import Call, command, group
from convergence.cli.output import Format, say, show_record, show_rows, write
from convergence.errors import Conflict, Invalid, NotFound, Unavailable

COLUMNS = ("template", "pipeline_id", "version", "description")
FAULT_COLUMNS = ("file", "line", "column", "message", "suggestion")

BEGINNING = """\
# yaml-language-server: $schema=../../pipeline-template.schema.json
pipeline_id: "{tenant_id}-PIPELINE"
description: Net cost of each project on {date}
version: "1"
timeout_minutes: 10

steps:
  - step_id: by_project
    ps_type: gcp.bq_etl
    source:
      query: |
        SELECT project_id, currency, SUM(cost) + SUM(credits_total) AS net
        FROM `{dataset}.billing_cost_daily`
        WHERE ingestion_date = {date}
        GROUP BY project_id, currency
    destination:
      table: cost_by_project
"""
"""Of what was loaded already, so that it runs without an export."""

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


@command(
    app,
    "new",
    examples=("cdp templates new gcp/cost/by_project", "cdp templates new aws/cost/daily -o json"),
)
def new(
    call: Call,
    *,
    template: Annotated[str, typer.Argument(metavar="PROVIDER/DOMAIN/TEMPLATE")],
) -> None:
    """Write a template to begin with, into CDP_CONFIGS_DIR; one that is there stays."""
    from convergence.model.template import check_ref

    ref = check_ref(template)
    file = _own_configs(call) / f"{ref}.yml"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as writing:
            writing.write(BEGINNING.replace("PIPELINE", ref.replace("/", "-").replace("_", "-")))
    except FileExistsError as error:
        raise Conflict(
            f"{file} is there already",
            code="template_exists",
            hint=f"cdp templates validate {_from_here(file)}",
        ) from error
    except OSError as error:
        raise Unavailable(
            f"cannot write {file}: {error.strerror or error}",
            code="folder_unusable",
            hint="set CDP_CONFIGS_DIR to a folder that this user may write to",
        ) from error
    show_record({"template": ref, "file": str(_from_here(file))}, call.format)
    say(f"try: cdp templates validate {_from_here(file)}")


def _own_configs(call: Call) -> Path:
    """Where the user's templates are; those that are shipped are not the user's."""
    configured = call.settings().configs_dir
    if configured is None:
        raise Invalid(
            "no folder of your own for templates is set",
            code="configs_dir_missing",
            hint="cdp init makes one; or: cdp config set configs_dir FOLDER",
        )
    return configured


def _found(template: str, call: Call) -> tuple[Path, str]:
    """The file, given by its path or by its name in the library, and its text."""
    from convergence.library import Library
    from convergence.model.template import check_ref
    from convergence.wiring import shipped_configs

    given = Path(template)
    if given.suffix in {".yml", ".yaml"}:
        try:
            return given, given.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NotFound(
                f"cannot read {given}: {error}",
                code="template_unreadable",
                hint="give a file, or one that cdp templates ls names",
            ) from error
    ref = check_ref(template)
    directory = call.settings().configs_dir or shipped_configs()
    text = Library(directory, {}).text(ref)
    return _from_here(directory / f"{ref}.yml"), text


def _from_here(file: Path) -> Path:
    here = Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file


def _ref(file: Path) -> str:
    return "/".join(file.absolute().with_suffix("").parts[-3:])
