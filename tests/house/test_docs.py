"""The docs name every setting, every command and every route. The names come from the code."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator, Sequence

import pytest
import typer
from fastapi import APIRouter
from fastapi.routing import APIRoute

from convergence import api
from convergence.cli.app import app
from convergence.settings.fields import Settings
from convergence.settings.places import ALIASES
from tests.house.conftest import ROOT, Module

PLACE = re.compile(r"\{[^}/]*\}")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
CODE = re.compile(r"`((?:tests|bench|docs|convergence|tools|configs)/[^` {}*]+)`")


@pytest.fixture(scope="module")
def docs() -> str:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return "\n".join(page.read_text() for page in pages)


def commands(command: object, path: str) -> Iterator[str]:
    """The full names of the commands below this one. A group has `commands`, a command has not."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path
        return
    for name, child in children.items():
        if not child.hidden:
            yield from commands(child, f"{path} {name}")


def routes() -> Iterator[str]:
    """The paths of the routes, places without their names."""
    for found in pkgutil.iter_modules(api.__path__, f"{api.__name__}."):
        router = getattr(importlib.import_module(found.name), "router", None)
        if isinstance(router, APIRouter):
            for route in router.routes:
                if isinstance(route, APIRoute) and route.include_in_schema:
                    yield PLACE.sub("{}", route.path)


def codes(module: Module) -> Iterator[str]:
    """The codes of errors that a module gives: `code="…"` in calls, `default_code` of a class."""
    for node in ast.walk(module.tree):
        match node:
            case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                yield code
            case ast.Assign(targets=[ast.Name(id="default_code")], value=ast.Constant(value=code)):
                yield str(code)
            case ast.AnnAssign(target=ast.Name(id="default_code"), value=ast.Constant(value=code)):
                yield str(code)


def test_every_setting_is_in_the_docs(docs: str) -> None:
    names = {
        field: {f"CDP_{field.upper()}"} | {alias for alias, of in ALIASES.items() if of == field}
        for field in Settings.model_fields
    }
    assert [field for field, known in names.items() if not any(n in docs for n in known)] == []


def test_every_command_is_in_the_docs(docs: str) -> None:
    known = list(commands(typer.main.get_command(app), "cdp"))
    assert "cdp version" in known
    assert [command for command in known if command not in docs] == []


def test_every_route_is_in_the_docs(docs: str) -> None:
    known = set(routes())
    text = PLACE.sub("{}", docs)
    assert known
    assert sorted(path for path in known if path not in text) == []


def test_every_file_that_the_docs_name_is_there() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")]
    missing = [
        f"{page.relative_to(ROOT)}: {name}"
        for page in pages
        for folder, pattern in ((page.parent, LINK), (ROOT, CODE))
        for name in pattern.findall(page.read_text())
        if not (folder / name).exists()
    ]
    assert missing == []


def test_every_code_of_an_error_is_in_the_docs(modules: Sequence[Module]) -> None:
    product = [module for module in modules if module.path.startswith("convergence/")]
    known = {code for module in product for code in codes(module)}
    page = (ROOT / "docs/reference/errors.md").read_text()
    assert {"source_shrank", "rate_limited", "sql_syntax"} <= known
    assert sorted(code for code in known if f"`{code}`" not in page) == []


def test_the_architecture_names_each_verb() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    table = page.partition("## The verbs")[2].partition("\n## ")[0]
    named = {word for code in re.findall(r"`([a-z_ ]+)`", table) for word in code.split()}
    assert named == {path.stem for path in (ROOT / "convergence/engine").glob("[a-z]*.py")}
