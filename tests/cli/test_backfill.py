"""Many runs: as many at a time as may be, told one by one, and never more than is granted."""

from pathlib import Path

import pytest

from convergence.cli import batch
from convergence.cli.batch import Batch
from tests.cli.conftest import DAY, EXPORT, TEMPLATE, Cdp, Ended, Server, onboard

SPAN = ("--from", "2025-03-01", "--to", "2025-03-03")


def backfill(*options: str) -> tuple[str, ...]:
    return ("backfill", TEMPLATE, "-t", "acme", *SPAN, *options)


def test_each_day_is_run_and_told(acme: Cdp) -> None:
    ended = acme(*backfill("--json"))
    assert ended.code == 0, ended.err
    assert [(row["run_date"], row["status"]) for row in ended.json] == [
        ("2025-03-01", "COMPLETED"),
        ("2025-03-02", "COMPLETED"),
        ("2025-03-03", "COMPLETED"),
    ]
    assert "3 runs of gcp/cost/cost_billing for acme, 2025-03-01 to 2025-03-03" in ended.err
    assert "quota: 6 left today" in ended.err
    assert "2025-03-03 is COMPLETED (3/3)" in ended.err
    runs = acme("runs", "ls", "--json").json
    assert {run["trigger_type"] for run in runs} == {"backfill"}


def test_several_at_a_time_when_granted(acme: Cdp) -> None:
    acme("quota", "set", "acme", "--concurrent", "3")
    ended = acme(*backfill())
    assert ended.code == 0, ended.err
    assert "3 at a time" in ended.err
    asked = "SELECT COUNT(*) AS days FROM x_meta_loads"
    assert acme("sql", "-t", "acme", asked, "--json").json == [{"days": 3}]


def test_more_at_a_time_than_granted_is_told(acme: Cdp) -> None:
    acme("quota", "set", "acme", "--concurrent", "1")
    told = acme(*backfill("--parallel", "2"))
    assert told.code == 0, told.err
    assert "1 at a time: its limit of concurrent runs is 1" in told.err
    assert acme(*backfill("--parallel", "2", "--dry-run", "--json")).json["parallel"] == 1


def test_a_dry_run_shows_the_plan_alone(acme: Cdp) -> None:
    acme("quota", "set", "acme", "--daily", "2")
    plan = acme(*backfill("--dry-run", "--json")).json
    assert (plan["runs"], plan["left_today"], plan["runs_now"]) == (3, 2, 2)
    assert acme("runs", "ls", "--json").json == []


def test_the_limit_of_the_day_stops_it_with_the_command_that_goes_on(acme: Cdp) -> None:
    acme("quota", "set", "acme", "--daily", "2")
    ended = acme(*backfill())
    assert ended.code == 3
    go_on = "cdp backfill gcp/cost/cost_billing --tenant acme --to 2025-03-03 --from 2025-03-03"
    assert f"1 of 3 days are left; to go on: {go_on}" in ended.err
    assert "the quota lets 2 of 3 run now" in ended.err
    assert len(acme("runs", "ls", "--json").json) == 2


def test_a_failed_day_is_told_and_the_others_go_on(acme: Cdp, export: Path) -> None:
    acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    lines = (export / "a.csv").read_text().splitlines()
    (export / "a.csv").write_text("\n".join(line for line in lines if DAY not in line) + "\n")
    ended = acme(*backfill("--json"))
    assert ended.code == 1, ended.err
    assert [row["status"] for row in ended.json] == ["FAILED", "COMPLETED", "COMPLETED"]
    assert f"failed: {DAY}" in ended.err


def test_a_live_day_is_joined(acme: Cdp) -> None:
    left = acme("run", TEMPLATE, "-t", "acme", "--date", DAY, "--no-wait", "--json").json
    ended = acme(*backfill("--json"))
    assert ended.code == 0, ended.err
    assert ended.json[0]["pipeline_logging_id"] == left["pipeline_logging_id"]


def test_a_slot_that_nobody_will_free_is_not_waited_for(acme: Cdp) -> None:
    acme("run", TEMPLATE, "-t", "acme", "--date", "2025-02-01", "--no-wait")
    ended = acme(*backfill())
    assert ended.code == 3
    assert "Concurrent pipeline quota exceeded" in ended.err


def test_ctrl_c_cancels_the_runs_of_this_process_and_says_how_to_go_on(
    acme: Cdp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press_ctrl_c(self: Batch, bar: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Batch, "_collect", press_ctrl_c)
    ended = acme(*backfill("--yes"))
    assert ended.code == 130
    assert "to go on: cdp backfill" in ended.err
    assert acme("runs", "ls", "--status", "running", "--json").json == []


@pytest.mark.parametrize(
    "options", [("--from", "2025-03-03", "--to", "2025-03-01"), ("--from", "x", "--to", DAY)]
)
def test_a_span_must_be_one(acme: Cdp, options: tuple[str, ...]) -> None:
    assert acme("backfill", TEMPLATE, "-t", "acme", *options).code == 2
    assert acme("backfill", "gcp/cost/none", "-t", "acme", *SPAN).code == 4


def test_failed_runs_are_retried_by_their_status(acme: Cdp, export: Path) -> None:
    file = export / "a.csv"
    text = file.read_text()
    file.unlink()
    for day in (DAY, "2025-03-02"):
        assert acme("run", TEMPLATE, "-t", "acme", "--date", day).code == 1
    file.write_text(text)
    assert acme("run", TEMPLATE, "-t", "acme", "--date", DAY).code == 0
    chosen = ("runs", "retry", "--status", "failed", "--since", "1d")
    planned = acme(*chosen, "--dry-run", "--json").json
    assert [run["run_date"] for run in planned] == ["2025-03-02"]
    retried = acme(*chosen, "--json")
    assert retried.code == 0, retried.err
    (row,) = retried.json
    assert (row["status"], row["retry_of"]) == ("COMPLETED", planned[0]["pipeline_logging_id"])
    assert acme(*chosen, "--json").json == []


def test_a_day_that_another_source_repaired_is_not_retried(acme: Cdp, export: Path) -> None:
    def add(table: str, files: Path) -> Ended:
        return acme("sources", "add", table, "--files", str(files), "--tenant", "acme")

    assert acme("sources", "rm", EXPORT).code == 0
    assert add("billing.exports.mistaken", export / "none" / "*.csv").code == 0
    for day in (DAY, "2025-03-02"):
        assert acme("run", TEMPLATE, "-t", "acme", "--date", day).code == 1
    assert acme("sources", "rm", "billing.exports.mistaken").code == 0
    assert add(EXPORT, export / "*.csv").code == 0
    assert acme("run", TEMPLATE, "-t", "acme", "--date", DAY).code == 0
    chosen = acme("runs", "retry", "--status", "failed", "--dry-run", "--json").json
    assert [run["run_date"] for run in chosen] == ["2025-03-02"]


def test_what_cannot_be_retried_is_told_beside_what_can(acme: Cdp, export: Path) -> None:
    done = acme("run", TEMPLATE, "-t", "acme", "--date", DAY, "--json").json
    text = (export / "a.csv").read_text()
    (export / "a.csv").unlink()
    bad = acme("run", TEMPLATE, "-t", "acme", "--date", "2025-03-02", "--json").json
    (export / "a.csv").write_text(text)
    ids = [run["pipeline_logging_id"] for run in (done, bad)]
    ended = acme("runs", "retry", *ids, "--json")
    assert ended.code == 1
    assert [row["status"] for row in ended.json] == [batch.REFUSED, "COMPLETED"]
    whole = acme("runs", "retry", ids[0], "--whole", "--json").json
    assert [row["status"] for row in whole] == ["COMPLETED"]


def test_retry_needs_ids_or_a_status(acme: Cdp) -> None:
    assert acme("runs", "retry").code == 2
    assert acme("runs", "retry", "--status", "completed").code == 2
    assert acme("runs", "retry", "--status", "failed", "--since", "soon").code == 2


@pytest.mark.kills
def test_a_server_runs_the_days_and_retries(cdp: Cdp, server: Server, export: Path) -> None:
    onboard(cdp, export, tenant="filler")
    ended = cdp("backfill", TEMPLATE, "-t", "filler", *SPAN, "--json")
    assert ended.code == 0, ended.err
    assert {row["status"] for row in ended.json} == {"COMPLETED"}
    assert cdp("runs", "cancel", ended.json[0]["pipeline_logging_id"]).code == 1
    whole = cdp("runs", "retry", ended.json[0]["pipeline_logging_id"], "--whole", "--json")
    assert [row["status"] for row in whole.json] == ["COMPLETED"], whole.err
