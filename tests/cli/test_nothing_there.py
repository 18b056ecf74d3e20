"""What a person is told where an answer would be empty, or unreadable."""

from pathlib import Path

import pytest

from tests.cli.conftest import DAY, TEMPLATE, Cdp


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("costs", "top"), "acme has no costs there; see what was loaded: cdp runs ls"),
        (("schedules", "ls"), "acme has no schedules; add one: cdp schedules add"),
        (("schedules", "next"), "acme has no schedules; add one: cdp schedules add"),
    ],
)
def test_an_empty_answer_says_what_to_do(acme: Cdp, command: tuple[str, ...], said: str) -> None:
    answer = acme(*command, "-t", "acme", "--json")
    assert (answer.code, answer.json) == (0, [])
    assert said in answer.err


def test_paused_schedules_are_not_due(acme: Cdp) -> None:
    acme("schedules", "add", TEMPLATE, "-t", "acme", "--cron", "0 3 * * *", "--paused")
    assert "no schedule is due" in acme("schedules", "next", "-t", "acme").err


def test_a_source_without_files_is_told_of(cdp: Cdp, tmp_path: Path) -> None:
    files = str(tmp_path / "export" / "*.csv")
    empty = cdp("sources", "add", "local.billing.export", "--files", files)
    assert empty.err == f"no file matches {files} yet; runs find them once they are there\n"
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "a.csv").touch()
    assert cdp("sources", "add", "local.billing.export", "--files", files).err == ""


def test_changed_limits_are_a_table(acme: Cdp) -> None:
    lines = acme("quota", "set", "acme", "--daily", "25").out.splitlines()
    assert [line.split() for line in lines[:2]] == [["limit", "value"], ["daily_limit", "25"]]
    assert not any("{" in line for line in lines)


def test_a_retry_of_what_completed_shows_its_command(acme: Cdp) -> None:
    ran = acme("run", TEMPLATE, "-t", "acme", "--date", DAY, "--json").json
    refused = acme("runs", "retry", ran["pipeline_logging_id"])
    assert f"cdp runs retry {ran['pipeline_logging_id']} --whole" in refused.err


def test_doctor_counts_in_words(acme: Cdp) -> None:
    seen = {row["check"]: row["seen"] for row in acme("doctor", "--json").json}
    assert seen["template gcp/cost/cost_quality"] == "1 step"
