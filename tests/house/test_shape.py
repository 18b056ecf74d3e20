"""The shape of the code: sizes, words and who may say what."""

import ast
from collections.abc import Sequence
from pathlib import PurePosixPath

from tests.house.conftest import Module

MOST_LINES, LONGEST_FUNCTION = 400, 60
LONG_FILES: dict[str, str] = {  # path -> why it is better whole
    "convergence/store/tables.py": "the one schema of the control store, said once",
}
LONG_FUNCTIONS: dict[str, str] = {}  # path:name -> why it is better whole
FOREIGN_WORDS = {  # path -> whose words they are
    "convergence/engine/work.py": "DBOS's states of a workflow",
    "convergence/engine/recover.py": "DBOS's states of a workflow",
    "convergence/api/wire/tenant.py": "the source documents' outcome of a dry run",
}
BANNED = {"manager", "helper", "helpers", "utils", "common", "core", "processor", "handler", "info"}
STATUSES = {"PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "SKIPPED"}


def test_files_stay_small(modules: Sequence[Module]) -> None:
    long = {module.path for module in modules if module.lines > MOST_LINES}
    assert long == set(LONG_FILES)


def test_functions_stay_short(modules: Sequence[Module]) -> None:
    long = {
        f"{module.path}:{function.name}"
        for module in modules
        for function in module.functions()
        if (function.end_lineno or 0) - function.lineno >= LONGEST_FUNCTION
    }
    assert long == set(LONG_FUNCTIONS)


def test_names_of_files_and_classes_mean_something(modules: Sequence[Module]) -> None:
    ours = [module for module in modules if module.path.startswith("convergence/")]
    files = {m.path for m in ours if BANNED & set(PurePosixPath(m.path).stem.split("_"))}
    classes = {
        f"{module.path}:{node.name}"
        for module in ours
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Service", "Manager", "Helper"))
    }
    assert files == set()
    assert {name for name in classes if not name.endswith(":Service")} == set()
    assert len(classes) <= 1


def test_statuses_are_written_in_one_place(modules: Sequence[Module]) -> None:
    said = {
        f"{module.path}:{node.lineno}"
        for module in modules
        if module.path.startswith("convergence/")
        and module.path not in {"convergence/model/run.py", *FOREIGN_WORDS}
        and "/migrations/" not in module.path
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and node.value in STATUSES
    }
    assert said == set()


def test_nothing_is_mocked(modules: Sequence[Module]) -> None:
    imported = {
        module.path
        for module in modules
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.ImportFrom) and node.module in {"unittest", "unittest.mock"})
        or (isinstance(node, ast.Import) and any("mock" in name.name for name in node.names))
    }
    assert imported == set()
