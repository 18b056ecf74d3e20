"""Promises that hold by force: short forms here, the long ones in the slow tier."""

import pytest

from tests.fleet import force
from tests.fleet.conftest import Ground
from tests.fleet.machines import Fleet

pytestmark = [pytest.mark.postgres, pytest.mark.kills, pytest.mark.timeout(600)]


def test_a_limit_holds_through_two_servers(ground: Ground) -> None:
    force.check_limit(ground, triggers=150, limit=20)


def test_the_same_work_asked_for_at_once_is_one_run(ground: Ground) -> None:
    force.check_identical(ground, triggers=100)


def test_killed_workers_lose_no_run(ground: Ground, fleet: Fleet) -> None:
    force.check_kills(ground, kills=2, runs=40)


def test_a_database_that_dies_loses_no_run(ground: Ground, fleet: Fleet) -> None:
    force.check_outages(ground, stops=3, runs=60)


def test_a_server_restarted_beside_another_fails_no_request(ground: Ground, fleet: Fleet) -> None:
    force.check_rolling(ground, restarts=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_limit_of_50_holds_for_1000_triggers(ground: Ground) -> None:
    force.check_limit(ground, triggers=1000, limit=50)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_1000_times_the_same_work_is_one_run(ground: Ground) -> None:
    force.check_identical(ground, triggers=1000)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_500_kills_over_5000_runs(ground: Ground, fleet: Fleet) -> None:
    print(force.check_kills(ground, kills=500, runs=5000))  # noqa: T201 - for who measures


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_100_deaths_of_the_database_over_2000_runs(ground: Ground, fleet: Fleet) -> None:
    print(force.check_outages(ground, stops=100, runs=2000))  # noqa: T201 - for who measures


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_50_rolling_restarts(ground: Ground, fleet: Fleet) -> None:
    print(force.check_rolling(ground, restarts=50))  # noqa: T201 - for who measures


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_50_of_50_late_writes_are_refused(ground: Ground, fleet: Fleet) -> None:
    force.check_paused_worker(ground, ground.caller(), runs=50)
