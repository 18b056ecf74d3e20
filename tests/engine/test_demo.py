import stat
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from convergence.engine import demo, sample
from convergence.engine.demo import GUESTS, Wanted
from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.sample import Made
from convergence.engine.service import Service
from convergence.model.run import LaunchRequest, RunFilter, Status
from convergence.model.sample.catalog import EUR
from convergence.model.sample.export import Sample
from convergence.store import keys, runs, tenants
from convergence.wiring import export_writer
from tests.fakes import FakeClock

SHORT = Sample(first=date(2025, 10, 1), days=2, seed=1)
Make = Callable[..., Made]


@pytest.fixture
def clock() -> FakeClock:
    """After the bills' days: usage that has not been yet is refused."""
    return FakeClock(datetime(2026, 2, 1, 8, tzinfo=UTC))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(wanted: Sample = SHORT, *, mend: bool = False) -> Made:
        with export_writer() as write:
            progress = lambda *_: None  # noqa: E731 - nobody watches
            return sample.make(tmp_path / "bills", wanted, write, mend=mend, progress=progress)

    return make


def load(service: Service, wanted: list[Wanted]) -> list[int]:
    told: list[int] = []
    demo.load(service, wanted, told.append)
    return told


def test_guests_have_limits_sources_and_keys_in_the_home(service: Service, make: Make) -> None:
    demo.settle(service, make())
    for guest in GUESTS:
        file = service.home.path / "keys" / guest.tenant_id
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text().startswith("cdp_")
        with service.database.read() as tx:
            limits = tenants.limits(tx, guest.tenant_id)
        found = (limits.daily_limit, limits.monthly_limit, limits.concurrent_limit)
        assert found == (1000, 10_000, 10)


def test_settling_twice_keeps_the_keys(service: Service, make: Make) -> None:
    made = make()
    demo.settle(service, made)
    before = (service.home.path / "keys/globex").read_text()
    demo.settle(service, made)
    assert (service.home.path / "keys/globex").read_text() == before


def test_lost_key_is_made_anew(service: Service, make: Make) -> None:
    made = make()
    demo.settle(service, made)
    (service.home.path / "keys/globex").unlink()
    demo.settle(service, made)
    with service.database.read() as tx:
        assert len(keys.active(tx, "globex")) == 2


def test_every_day_is_loaded_once(service: Service, make: Make) -> None:
    made = make()
    demo.settle(service, made)
    wanted = demo.missing(service, made)
    assert [(each.day.day, each.tenant_id) for each in wanted] == [
        (1, "acme1281"),
        (1, "globex"),
        (2, "acme1281"),
        (2, "globex"),
    ]
    assert load(service, wanted) == [1, 2, 3, 4]
    assert demo.missing(service, made) == []


def test_run_of_a_killed_demo_is_taken_over(service: Service, make: Make) -> None:
    made = make()
    demo.settle(service, made)
    asked = LaunchRequest(tenant_id="globex", template=demo.TEMPLATE, run_date=made.sample.first)
    cut_off = launch(service, asked).run
    Executor(service=service, worker="killed").begin("globex", cut_off.run_id)
    load(service, [Wanted(day=made.sample.first, tenant_id="globex")])
    with service.database.read() as tx:
        found = runs.page(tx, "globex", RunFilter(), limit=10, before=None)
    assert [(run.run_id, run.status) for run in found] == [(cut_off.run_id, Status.COMPLETED)]


def test_late_rows_of_a_loaded_day_are_missing_until_it_is_loaded_again(
    service: Service, make: Make
) -> None:
    first = make()
    demo.settle(service, first)
    load(service, demo.missing(service, first))
    longer = make(Sample(first=SHORT.first, days=4, seed=1))
    again = {each.day for each in demo.missing(service, longer)}
    assert again > {date(2025, 10, 3), date(2025, 10, 4)}
    load(service, demo.missing(service, longer))
    assert demo.missing(service, longer) == []


def test_broken_day_fails_once_and_is_wanted_again_when_mended(
    service: Service, make: Make
) -> None:
    long = Sample(first=date(2025, 10, 1), days=84, seed=1)
    made = make(long)
    demo.settle(service, made)
    day = made.broken(EUR)
    assert day == long.first + timedelta(days=83)
    broken = Wanted(day=day, tenant_id="globex")
    assert broken in demo.missing(service, made)
    load(service, [broken])
    failed = demo.failure(service, made)
    assert failed is not None
    assert failed.error_code == "source_broken"
    assert broken not in demo.missing(service, made)
    mended = make(long, mend=True)
    assert demo.failure(service, mended) is None
    assert broken in demo.missing(service, mended)
    load(service, [broken])
    assert broken not in demo.missing(service, mended)
