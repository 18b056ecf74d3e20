"""The killers, loaded: first the export, then what came late."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from convergence.engine import costs
from convergence.engine.onboard import onboard
from convergence.engine.service import Service
from convergence.model.run import Status
from convergence.settings.fields import Settings
from convergence.wiring import build
from tests.bill.killers import LATE, NEW, NEW_COLUMNS, Row, killers
from tests.conftest import application, grant_export
from tests.engine.test_sync import run_sync
from tests.exports import write_rows
from tests.fakes import FakeClock

KILLERS = killers()


@dataclass(frozen=True, kw_only=True)
class Bill:
    """A service that has loaded all of it: the export, then what came late."""

    service: Service
    rows: list[Row]
    folder: Path
    """Where its export is."""

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return list(costs.query(self.service, "acme", sql).rows)


@pytest.fixture(scope="session")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bill]:
    home = tmp_path_factory.mktemp("bill")
    service = build(Settings(home=home / "home"))
    service.clock = FakeClock()
    onboard(service, application("acme", plan="SCALE"))
    grant_export(service, home / "export" / "*.parquet", "acme")
    early = [row for name, rows in KILLERS.items() if name not in {LATE, NEW} for row in rows]
    early.append(KILLERS[LATE][0])
    write_rows(home / "export" / "early.parquet", early, without=NEW_COLUMNS)
    write_rows(home / "export" / "new.parquet", KILLERS[NEW])
    first = run_sync(service)
    assert first.status is Status.COMPLETED, first.error
    write_rows(home / "export" / "late.parquet", KILLERS[LATE][1:])
    second = run_sync(service)
    assert second.status is Status.COMPLETED, second.error
    rows = [row for rows in KILLERS.values() for row in rows]
    yield Bill(service=service, rows=rows, folder=home / "export")
    service.close()
