"""`cdp schedules`, without a server and through one."""

from pathlib import Path

import pytest

from tests.cli.conftest import TEMPLATE, Cdp, Server, onboard

OPTIONS = ("--cron", "0 3 * * *", "--timezone", "Europe/Berlin", "--priority", "1")


def story(cdp: Cdp, tenant: str) -> None:
    """Add, list, show, pause, resume and remove one."""
    added = cdp("schedules", "add", TEMPLATE, "-t", tenant, *OPTIONS, "--json")
    assert added.code == 0, added.err
    id_ = added.json["config_id"]
    (listed,) = cdp("schedules", "ls", "-t", tenant, "-o", "json").json
    assert (listed["template"], listed["priority"], listed["is_active"]) == (TEMPLATE, 1, True)
    assert id_ in cdp("schedules", "ls", "-t", tenant).out
    due = [row["due"] for row in cdp("schedules", "next", "-t", tenant, "--json").json]
    assert due == cdp("schedules", "show", id_, "-t", tenant, "--json").json["next_run_times"]
    assert len(due) == 3
    paused = cdp("schedules", "pause", id_, "-t", tenant, "--json").json
    assert (paused["is_active"], paused["next_run_time"]) == (False, None)
    assert cdp("schedules", "resume", id_, "-t", tenant, "--json").json["next_run_time"] == due[0]
    again = cdp("schedules", "add", TEMPLATE, "-t", tenant, *OPTIONS)
    assert (again.code, "the same parameters" in again.err) == (2, True)
    assert cdp("schedules", "rm", id_, "-t", tenant).code == 0
    assert cdp("schedules", "show", id_, "-t", tenant).code == 4


def test_schedules_are_arranged_without_a_server(acme: Cdp) -> None:
    story(acme, "acme")


def test_schedules_are_arranged_through_a_server(cdp: Cdp, server: Server, export: Path) -> None:
    onboard(cdp, export, "scheduled")
    story(cdp, "scheduled")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cron", "61 * * * *"), "0 3 * * *"),
        (("--cron", "0 0 3 * * *"), "minute hour"),
        (("--cron", "0 3 * * *", "--timezone", "Europe/Berln"), "did you mean Europe/Berlin"),
        (("--cron", "0 3 * * *", "--timezone", "localtime"), "timezone 'localtime' is not known"),
        (("--cron", "0 3 * * *", "--timezone", "Factory"), "timezone 'Factory' is not known"),
        (("--cron", "0 3 * * *", "--timezone", "posixrules"), "'posixrules' is not known"),
        (("--cron", "0 3 * * *", "--var", "nonsense=1"), "declares no variable"),
        (("--cron", "0 3 * * *", "--priority", "11"), "priority"),
    ],
)
def test_a_wrong_schedule_is_said_to_be_wrong(
    acme: Cdp, options: tuple[str, ...], said: str
) -> None:
    refused = acme("schedules", "add", TEMPLATE, "-t", "acme", *options)
    assert (refused.code, said in refused.err) == (2, True), refused.err
