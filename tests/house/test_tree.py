"""What may be in the tree: no addresses of registries, no paths of a machine, locks with hashes."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.conftest import ROOT

# Written so that they do not match themselves.
REGISTRY = re.compile(
    r"py[p]i\.(org|python)|python[h]osted|registry\.n[p]mjs|(index|registry)-url *= *[\"']?http"
)
MACHINE = re.compile(r"(?<![\w.])/(root|Users/\w+|home/(?!you\b|cdp\b)\w+)/")
LOCKS = ("requirements.lock", "requirements-dev.lock", "tools/installer.lock")
PIN = re.compile(r"^([\w.-]+)==([^ ;\\]+)", re.MULTILINE)


def texts(tree: Sequence[str]) -> Iterator[tuple[str, str]]:
    for path in tree:
        content = (ROOT / path).read_bytes()
        if b"\0" not in content[:8000]:
            yield path, content.decode(errors="replace")


def pins(path: str) -> dict[str, str]:
    text = (ROOT / path).read_text()
    return {canonicalize_name(name): version for name, version in PIN.findall(text)}


def test_no_registry_is_named(tree: Sequence[str]) -> None:
    assert [path for path, text in texts(tree) if REGISTRY.search(text)] == []


def test_no_path_of_a_machine_is_named(tree: Sequence[str]) -> None:
    here = f"{ROOT}/"
    named = [path for path, text in texts(tree) if here in text or MACHINE.search(text)]
    assert named == []


def test_locks_of_other_tools_are_not_kept(tree: Sequence[str]) -> None:
    names = {Path(path).name for path in tree}
    assert names.isdisjoint({"uv.lock", "pylock.toml", "poetry.lock", "Pipfile.lock"})


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert not re.search(r"^(-|convergence)", text, re.MULTILINE)


def test_every_direct_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        "requirements.lock": project["dependencies"] + extras["postgres"],
        "requirements-dev.lock": project["dependencies"] + extras["postgres"] + extras["dev"],
    }
    for lock, lines in wanted.items():
        locked = pins(lock)
        for requirement in map(Requirement, lines):
            name = canonicalize_name(requirement.name)
            if name != project["name"]:
                assert requirement.specifier.contains(locked.get(name, "0")), (
                    lock,
                    str(requirement),
                )


def test_development_lock_holds_the_runtime_lock() -> None:
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"])
def test_a_stranger_finds_the_first_pages(name: str) -> None:
    assert (ROOT / name).read_text().strip()
