"""However an export arrives, and whatever happens meanwhile, the tables are those of one load."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from convergence.engine import costs, reconcile
from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import onboard
from convergence.engine.service import Service
from convergence.model.run import LaunchRequest, Run, RunFilter, Status
from convergence.settings.fields import Settings
from convergence.store import loads, runs, units
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.sql.cost_queries import SUMMARY_TABLE
from convergence.wiring import build
from tests.bill.killers import Row, killers
from tests.conftest import EXPORT, application, grant_export
from tests.engine.test_sync import SYNC, run_sync
from tests.exports import write_rows
from tests.fakes import FakeClock

CHOSEN = (
    "two_and_three_credits",
    "negation_and_remonetisation_on_a_later_invoice",
    "promotion_that_ends",
    "twins_that_are_both_real",
    "two_currencies",
)
ROWS: list[Row] = [row for name in CHOSEN for row in killers()[name]]
EVERYTHING = (
    "SELECT * EXCEPT (x_run_id, x_ingested_at, x_source) FROM billing_cost_daily"
    " ORDER BY usage_start_time, service_id, cost, currency, x_source_export_time, x_credits_json"
)
SUMS = load_schema(SUMMARY_TABLE)
POINTS = (
    "stage",
    "stage_together",
    "totals",
    "publish",
    "publish_together",
    "mark_published",
    "settle",
)
EVENTS = (
    *("nothing", "sync", "repeat", "together", "one_day", "passing"),
    *(f"crash_{point}" for point in POINTS),
)


class Crash(BaseException):
    """The process is gone, as far as the run can tell."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A service, with the tables that one load of all rows gives."""

    service: Service
    home: Path
    whole: list[tuple[object, ...]]
    tenants: Iterator[int] = field(default_factory=lambda: iter(range(1, 10_000)))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("splits")
    service = build(Settings(home=home / "home"))
    service.clock = FakeClock()
    join(service, home, "whole")
    write_rows(home / "whole" / "all.parquet", ROWS)
    run = run_sync(service, tenant_id="whole")
    assert run.status is Status.COMPLETED, run.error
    yield Stage(service=service, home=home, whole=table(service, "whole"))
    service.close()


def join(service: Service, home: Path, tenant_id: str) -> None:
    """A tenant with an export of its own."""
    onboard(service, application(tenant_id, plan="SCALE"))
    table_ = EXPORT.replace("TEST", tenant_id.upper())
    grant_export(service, home / tenant_id / "*.parquet", tenant_id, table_)


def table(service: Service, tenant_id: str) -> list[tuple[object, ...]]:
    return list(costs.query(service, tenant_id, EVERYTHING).rows)


def sums(service: Service, tenant_id: str, kept: str) -> list[tuple[object, ...]]:
    names = ", ".join(SUMS.column_names)
    sql = f"SELECT {names} FROM {kept} ORDER BY {names}"  # noqa: S608 - names of the schema
    return list(costs.query(service, tenant_id, sql).rows)


def arrive(path: Path, rows: list[Row], *, hours_ago: int) -> None:
    write_rows(path, rows)
    old_ns = path.stat().st_mtime_ns - hours_ago * 3600 * 10**9
    os.utime(path, ns=(old_ns, old_ns))


def act(service: Service, tenant_id: str, event: str) -> None:
    """What happens after a part of the export has arrived."""
    if event.startswith("crash_"):
        crash(service, tenant_id, event.removeprefix("crash_"))
    elif event == "together":
        together(service, tenant_id)
    elif event == "one_day":
        run_sync(service, "gcp/cost/cost_billing", "2024-10-03", tenant_id=tenant_id)
    elif event not in {"nothing", "passing"}:
        for _ in range(2 if event == "repeat" else 1):
            run_sync(service, tenant_id=tenant_id)


def crash(service: Service, tenant_id: str, point: str) -> None:
    """Break a run off where it comes to the point, then take it over."""
    owners: dict[str, tuple[object, str]] = {
        "mark_published": (loads, "publish"),
        "settle": (units, "settle"),
    }
    owner, name = owners.get(point, (service.warehouse, point))
    run = launched(service, tenant_id)
    with pytest.MonkeyPatch.context() as patch, suppress(Crash):
        patch.setattr(
            owner, name, crashing(getattr(owner, name), is_after=point.startswith("publish"))
        )
        Executor(service=service, worker="dying").walk(tenant_id, run.run_id)
    Executor(service=service, worker="next").walk(tenant_id, run.run_id)


def crashing(call: Callable[..., object], *, is_after: bool) -> Callable[..., object]:
    def crash(*arguments: object, **named: object) -> object:
        if is_after:
            call(*arguments, **named)
        raise Crash

    return crash


def together(service: Service, tenant_id: str) -> None:
    """Two runs at once."""
    pending = [launched(service, tenant_id, day) for day in ("2024-11-04", "2024-11-05")]
    with ThreadPoolExecutor() as pool:
        walks = [
            pool.submit(Executor(service=service, worker=run.run_id).walk, tenant_id, run.run_id)
            for run in pending
        ]
    assert [walk.result() for walk in walks] == [None, None]


def launched(service: Service, tenant_id: str, day: str = "2024-11-05") -> Run:
    request = LaunchRequest(tenant_id=tenant_id, template=SYNC, run_date=date.fromisoformat(day))
    return launch(service, request).run


def check_split(stage: Stage, parts: Sequence[int], events: Sequence[str]) -> None:
    """Give each row to a file; the files come in order, each with what happens after it."""
    tenant_id = f"split{next(stage.tenants)}"
    join(stage.service, stage.home, tenant_id)
    for number, event in enumerate(events):
        rows = [row for row, part in zip(ROWS, parts, strict=True) if part == number]
        if rows:
            path = stage.home / tenant_id / f"{number}.parquet"
            if event == "passing":
                arrive(path, rows, hours_ago=3)
                act(stage.service, tenant_id, "sync")
                arrive(path, [{**row, "cost": row["cost"] + 1} for row in rows], hours_ago=2)
                act(stage.service, tenant_id, "one_day")
            arrive(path, rows, hours_ago=1)
            act(stage.service, tenant_id, event)
    last = run_sync(stage.service, tenant_id=tenant_id)
    assert last.status is Status.COMPLETED, last.error
    assert table(stage.service, tenant_id) == stage.whole
    kept = sums(stage.service, tenant_id, SUMS.name)
    assert kept == sums(stage.service, tenant_id, f"({SUMS.query})")
    assert all(i.is_equal for i in reconcile.reconciliation(stage.service, tenant_id, None))
    with stage.service.database.read() as tx:
        assert not [
            run
            for run in runs.page(tx, tenant_id, RunFilter(), limit=100, before=None)
            if run.is_live
        ]


def splits(files: int) -> st.SearchStrategy[tuple[list[int], list[str]]]:
    part = st.integers(0, files - 1)
    return st.tuples(
        st.lists(part, min_size=len(ROWS), max_size=len(ROWS)),
        st.lists(st.sampled_from(EVENTS), min_size=files, max_size=files),
    )


@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(split=splits(3))
def test_any_split_of_an_export_gives_the_tables_of_one_load(
    stage: Stage, split: tuple[list[int], list[str]]
) -> None:
    check_split(stage, *split)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(split=splits(5))
def test_any_split_of_an_export_gives_the_tables_of_one_load_at_length(
    stage: Stage, split: tuple[list[int], list[str]]
) -> None:
    check_split(stage, *split)


@pytest.mark.parametrize("event", EVENTS)
def test_whatever_happens_between_two_parts_the_tables_are_right(stage: Stage, event: str) -> None:
    check_split(stage, [number % 2 for number in range(len(ROWS))], [event, "nothing"])
