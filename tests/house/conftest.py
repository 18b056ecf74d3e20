"""What the house tests read: the files of the tree, and the syntax of the product's modules."""

import ast
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A Python file. `path` is relative to the checkout, with forward slashes."""

    path: str
    tree: ast.Module
    lines: int

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


@pytest.fixture(scope="session")
def tree() -> Sequence[str]:
    """Every file that is or would be committed, relative to the checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for path in listed.stdout.splitlines() if (ROOT / path).is_file()]


@pytest.fixture(scope="session")
def modules(tree: Sequence[str]) -> Sequence[Module]:
    """Every Python file of the tree."""
    texts = {path: (ROOT / path).read_text() for path in tree if path.endswith(".py")}
    return [
        Module(path=path, tree=ast.parse(text), lines=text.count("\n"))
        for path, text in texts.items()
    ]
