"""The mistakes of docs/guides/newcomers.md are met with what the page says."""

import re
import shlex
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from convergence.outside.home import Home
from tests.cli.conftest import Cdp, cdp, export, home, onboard

__all__ = ["cdp", "export", "home"]

PAGE = Path(__file__).parents[2] / "docs/guides/newcomers.md"
PAIR = re.compile(r"```sh\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
SECTION = re.compile(r"^## (\d+)\. (.*?)$(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    number: int
    command: str
    answer: str


MISTAKES = [
    Mistake(number=int(number), command=command.strip(), answer=answer.strip())
    for number, _, body in SECTION.findall(PAGE.read_text())
    for command, answer in PAIR.findall(body)
]


def other_program(cdp: Cdp, home: Path, export: Path, undo: ExitStack) -> dict[str, str]:
    taken = undo.enter_context(socket.create_server(("127.0.0.1", 0)))
    return {"8080": str(taken.getsockname()[1])}


def real_data(cdp: Cdp, home: Path, export: Path, undo: ExitStack) -> dict[str, str]:
    onboard(cdp, export)
    return {}


def running_server(cdp: Cdp, home: Path, export: Path, undo: ExitStack) -> dict[str, str]:
    Home(home).ensure()
    undo.enter_context(Home(home).lock()).announce("http://127.0.0.1:4321")
    return {}


def no_file(cdp: Cdp, home: Path, export: Path, undo: ExitStack) -> dict[str, str]:
    onboard(cdp, export)
    for file in export.iterdir():
        file.unlink()
    return {}


def bad_template(cdp: Cdp, home: Path, export: Path, undo: ExitStack) -> dict[str, str]:
    good = Path(__file__).parents[2] / "configs/gcp/cost/cost_billing.yml"
    lines = good.read_text().splitlines()[1:]
    lines[1] = 'pipelin_id: "{tenant_id}-mine"'
    Path("bad.yml").write_text("\n".join(lines) + "\n")
    return {}


def used_up(cdp: Cdp, home: Path, export: Path, undo: ExitStack) -> dict[str, str]:
    onboard(cdp, export)
    cdp("quota", "set", "acme", "--daily", "1")
    assert cdp("run", "gcp/cost/cost_billing", "-t", "acme", "--date", "2025-03-01").code == 0
    return {}


SETUPS: dict[int, Callable[[Cdp, Path, Path, ExitStack], dict[str, str]]] = {
    1: other_program,
    3: running_server,
    5: lambda *_: {},
    8: no_file,
    11: bad_template,
    12: used_up,
    14: lambda *_: {},
}
"""What is there before the mistake; else a tenant with an export."""


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.command)
def test_mistake_is_met_with_what_to_do(
    mistake: Mistake, cdp: Cdp, home: Path, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, answer = mistake.command, mistake.answer
    with ExitStack() as undo:
        changed = SETUPS.get(mistake.number, real_data)(cdp, home, export, undo)
        for said, real in changed.items():
            command, answer = command.replace(said, real), answer.replace(said, real)
        words = shlex.split(command)
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            monkeypatch.setenv(name, value)
        ended = cdp(*words[1:])
    assert ended.code != 0
    for line in answer.splitlines():
        pattern = ".*".join(map(re.escape, line.split("…")))
        assert re.search(f"^{pattern}$", ended.err, re.MULTILINE), ended.err


def test_the_page_tells_of_ten_mistakes_and_more() -> None:
    assert len({mistake.number for mistake in MISTAKES}) >= 10
