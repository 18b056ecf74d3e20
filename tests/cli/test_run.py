from pathlib import Path

import pytest

from convergence.cli import embedded, homes
from convergence.cli.run import Progress
from convergence.outside.home import Home
from tests.cli.conftest import DAY, EXPORT, TEMPLATE, Cdp, program


def test_run_is_executed_and_shown_with_its_proof(acme: Cdp) -> None:
    ended = acme("run", TEMPLATE, "--tenant", "acme", "--date", DAY)
    assert ended.code == 0, ended.err
    assert "10.100000001" in ended.out
    assert "extract_billing_costs is COMPLETED" in ended.err
    (run,) = acme("runs", "ls", "--tenant", "acme", "--json").json
    assert (run["status"], run["run_date"], run["trigger_type"]) == ("COMPLETED", DAY, "cli")
    shown = acme("runs", "show", run["pipeline_logging_id"], "--json").json
    (total,) = shown["steps"][0]["report"]["totals"]
    assert shown["steps"][0]["row_count"] == total["rows"] == 2


def test_ledger_knows_the_run_when_the_command_ends(acme: Cdp) -> None:
    acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    asked = "SELECT status FROM x_meta_pipeline_runs"
    assert acme("sql", "-t", "acme", asked, "--json").json == [{"status": "COMPLETED"}]


def test_failed_run_exits_1_with_its_reason_and_the_run(acme: Cdp, export: Path) -> None:
    (export / "a.csv").unlink()
    ended = acme("run", TEMPLATE, "-t", "acme", "--date", DAY, "--json")
    assert ended.code == 1
    run = ended.json
    assert (run["status"], run["error_code"]) == ("FAILED", "source_missing")
    last, hint = ended.err.splitlines()[-2:]
    assert last.startswith(f"error: run {run['pipeline_logging_id']} is FAILED: ")
    assert hint == f"try: cdp runs show {run['pipeline_logging_id']}"


def test_whom_a_failure_could_not_be_told_is_said(acme: Cdp, export: Path) -> None:
    (export / "a.csv").unlink()
    ended = acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    assert "notify_on_failure: " in ended.out
    assert "left out: no mail server is set" in ended.out


def test_run_of_nothing_known_is_not_found(acme: Cdp) -> None:
    assert acme("run", "gcp/cost/nothing", "-t", "acme").code == 4
    assert acme("run", TEMPLATE, "-t", "nobody").code == 4
    assert acme("runs", "show", "no-such-run").code == 4
    assert acme("runs", "ls", "-t", "nobody").code == 4


@pytest.mark.parametrize("date", ["2024-13-01", "1730419200", "2024-11-01'; --", "tomorrow"])
def test_date_is_strict(acme: Cdp, date: str) -> None:
    refused = acme("run", TEMPLATE, "-t", "acme", "--date", date)
    assert refused.code == 2
    assert "YYYY-MM-DD" in refused.err


def test_variable_needs_a_name_and_a_value(acme: Cdp) -> None:
    assert acme("run", TEMPLATE, "-t", "acme", "--var", "novalue").code == 2
    assert acme("run", TEMPLATE, "-t", "acme", "--var", "unheard_of=1").code == 2


def test_variable_names_the_source(acme: Cdp) -> None:
    variable = ("--var", f"source_billing_table={EXPORT}")
    ended = acme("run", TEMPLATE, "-t", "acme", "--date", DAY, *variable, "--json")
    assert ended.json["parameters"]["source_billing_table"] == EXPORT


def test_quota_exits_3(acme: Cdp) -> None:
    acme("quota", "set", "acme", "--daily", "0")
    refused = acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    assert refused.code == 3
    assert "Daily pipeline quota exceeded" in refused.err


def test_run_that_is_not_waited_for_stays_until_somebody_executes_it(acme: Cdp) -> None:
    asked = ("run", TEMPLATE, "-t", "acme", "--date", DAY)
    left = acme(*asked, "--no-wait", "--json")
    assert (left.code, left.json["status"]) == (0, "PENDING")
    done = acme(*asked, "--json").json
    assert done["pipeline_logging_id"] == left.json["pipeline_logging_id"]
    assert done["status"] == "COMPLETED"


def test_other_runs_are_left_alone(acme: Cdp) -> None:
    acme("quota", "set", "acme", "--concurrent", "3")
    acme("run", TEMPLATE, "-t", "acme", "--date", "2025-03-02", "--no-wait")
    acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    runs = acme("runs", "ls", "--json").json
    assert [(run["run_date"], run["status"]) for run in runs] == [
        (DAY, "COMPLETED"),
        ("2025-03-02", "PENDING"),
    ]
    pending = acme("runs", "ls", "--status", "pending", "--from", "2025-03-02", "--json").json
    assert [run["run_date"] for run in pending] == ["2025-03-02"]


def test_busy_home_exits_6_and_admits_nothing(
    acme: Cdp, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "HOME_SECONDS", 0.1)
    with Home(home).lock():
        refused = acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
        assert refused.code == 6
        assert "is in use by process" in refused.err
        assert acme("runs", "ls", "--json").json == []


def test_server_must_be_a_url_and_answer(acme: Cdp) -> None:
    assert acme("runs", "ls", "--server", "ftp://nowhere").code == 2
    assert acme("runs", "ls", "--server", "http://127.0.0.1:9").code == 6


def test_ctrl_c_exits_130_and_the_run_ends_with_a_reason(
    acme: Cdp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press_ctrl_c(progress: Progress, run: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(Progress, "__call__", press_ctrl_c)
    ended = acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    assert ended.code == 130
    (run,) = acme("runs", "ls", "--json").json
    assert f"cdp runs show {run['pipeline_logging_id']}" in ended.err
    assert run["status"] in {"CANCELLED", "COMPLETED"}


def test_program_keeps_data_and_progress_apart(acme: Cdp, home: Path) -> None:
    ended = program("run", TEMPLATE, "-t", "acme", "--date", DAY, "-o", "json")
    assert ended.code == 0, ended.err
    assert ended.json["status"] == "COMPLETED"
    assert "\x1b" not in ended.out + ended.err
    assert ended.err.startswith("run ")


def test_proof_shows_amounts_alike(acme: Cdp) -> None:
    ended = acme("run", TEMPLATE, "-t", "acme", "--date", "2025-03-02")
    last = ended.out.splitlines()[-1].split()
    assert last[-6:] == ["1", "7.000000000", "0.000000000"] * 2


def test_waiting_runs_are_cancelled_by_their_ids(acme: Cdp) -> None:
    left = acme("run", TEMPLATE, "-t", "acme", "--date", DAY, "--no-wait", "--json").json
    run_id = left["pipeline_logging_id"]
    ended = acme("runs", "cancel", run_id, "no-such-run", "--json")
    assert ended.code == 4
    assert [run["status"] for run in ended.json] == ["CANCELLED"]
    assert acme("runs", "cancel", run_id).code == 0


def test_what_is_over_is_not_cancelled(acme: Cdp) -> None:
    done = acme("run", TEMPLATE, "-t", "acme", "--date", DAY, "--json").json
    refused = acme("runs", "cancel", done["pipeline_logging_id"])
    assert refused.code == 1
    assert "is COMPLETED and cannot be cancelled" in refused.err
