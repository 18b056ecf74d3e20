"""One server on SQLite, and two programs that ask it for the same slots."""

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.fleet.force import at_once
from tests.fleet.machines import Caller, Fleet, Process, onboard, write_templates

pytestmark = [pytest.mark.kills, pytest.mark.timeout(600)]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Process]:
    write_templates(tmp_path)
    url = f"sqlite:///{tmp_path}/control.db"
    fleet = Fleet(folder=tmp_path, database_url=url, smtp_url="smtp://127.0.0.1:1")
    yield fleet.serve()
    fleet.kill()


def test_a_limit_holds_for_two_clients(alone: Process) -> None:
    check_limit(alone, triggers=200, limit=20)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_limit_of_50_holds_for_1000_triggers_of_two_clients(alone: Process) -> None:
    check_limit(alone, triggers=1000, limit=50)


def check_limit(server: Process, *, triggers: int, limit: int) -> None:
    headers = onboard(server.url, "acme", concurrent_limit=limit)
    half = triggers // 2
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawned) as programs:
        parts = [programs.submit(statuses, server.url, headers, first, half) for first in (0, half)]
        codes = sum((part.result() for part in parts), Counter[int]())
    assert codes == {202: limit, 429: triggers - limit}


def statuses(url: str, headers: dict[str, str], first: int, triggers: int) -> Counter[int]:
    """What one of the programs is told."""
    with httpx2.Client(headers=headers, timeout=60) as client:
        acme = Caller(tenant="acme", client=client)
        answers = at_once(acme, [url], range(first, first + triggers))
    return Counter(answer.status_code for answer in answers)
