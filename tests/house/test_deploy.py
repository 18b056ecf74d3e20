"""The files of deploy/: they parse, name what there is, and the SQL is that of the schemas."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from sqlglot import exp, parse

from convergence.cli.app import app
from convergence.settings.fields import Settings
from convergence.settings.places import ALIASES
from tests.house.conftest import ROOT
from tools.write_sql import files

DEPLOY = ROOT / "deploy"
KNOWN = {f"CDP_{name.upper()}" for name in Settings.model_fields} | set(ALIASES)
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def verbs() -> set[str]:
    return set(getattr(typer.main.get_command(app), "commands", ()))


def values(node: object, name: str) -> Iterator[Any]:
    """What stands under a key, wherever it is."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == name:
                yield value
            yield from values(value, name)
    elif isinstance(node, list):
        for each in node:
            yield from values(each, name)


@pytest.mark.parametrize("name", sorted(files()))
def test_sql_for_hands_is_that_of_the_schemas(name: str) -> None:
    is_current = (DEPLOY / "sql" / name).read_text() == files()[name]
    assert is_current, "write it again: python tools/write_sql.py"
    dialect = "postgres" if "postgresql" in name else "bigquery"
    statements = parse(files()[name], dialect=dialect)
    assert not any(isinstance(statement, exp.Command) for statement in statements)


def test_compose_names_commands_and_settings_that_there_are() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ours = {name: each for name, each in services.items() if name != "postgres"}
    assert {each["command"][0] for each in ours.values()} <= verbs()
    assert {name for each in ours.values() for name in each["environment"]} <= KNOWN
    assert (ROOT / services["cdp"]["build"]["dockerfile"]).is_file()


def test_kubernetes_names_commands_and_settings_that_there_are() -> None:
    parts = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "cdp.yaml").read_text()))
    assert all({"apiVersion", "kind", "metadata", "spec"} <= part.keys() for part in parts)
    assert {args[0] for part in parts for args in values(part, "args")} <= verbs()
    named = {each["name"] for part in parts for env in values(part, "env") for each in env}
    assert named <= KNOWN
    assert not any(value for part in parts for value in values(part, "enableServiceLinks"))


def test_the_image_holds_what_its_build_copies() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--" not in line]
    assert [name for names in copied for name in names if not (ROOT / name).exists()] == []
    (said,) = (line for line in lines if line.startswith("ENV "))
    names = {part.partition("=")[0] for part in said.split()[1:]} - {"PATH"}
    assert names <= KNOWN


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_units_of_systemd_are_accepted_by_it(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    (command,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    program, verb = command.removeprefix("ExecStart=").split()
    assert verb in verbs()
    if shutil.which("systemd-analyze") is None:
        pytest.skip("UNITS ARE NOT VERIFIED: systemd-analyze is not installed")
    copy = tmp_path / unit.name
    copy.write_text(text.replace(program, sys.executable))
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in ended.stderr.splitlines() if unit.name in line]
    assert complaints == []
