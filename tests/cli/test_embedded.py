import io
import json
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tests.cli.conftest import DAY, EXPORT, TEMPLATE, Cdp, python
from tests.conftest import HEADER, export_line


def test_onboarded_tenant_is_listed_and_shown(cdp: Cdp) -> None:
    made = cdp(
        "tenants", "onboard", "acme", "--email", "a@acme.example", "--plan", "scale", "--json"
    )
    assert made.json["api_key"].startswith("cdp_test_")
    assert [tenant["tenant_id"] for tenant in cdp("tenants", "ls", "--json").json] == ["acme"]
    assert cdp("tenants", "show", "acme", "--json").json["subscription_plan"] == "SCALE"


def test_tenant_cannot_be_onboarded_twice(acme: Cdp) -> None:
    refused = acme("tenants", "onboard", "acme", "--email", "a@acme.example")
    assert refused.code == 1
    assert refused.err.startswith("error: ")
    assert "exists" in refused.err


def test_keys_are_made_listed_and_revoked(acme: Cdp) -> None:
    made = acme("tenants", "keys", "create", "acme", "--name", "ci", "--days", "3", "--json").json
    listed = acme("tenants", "keys", "ls", "acme", "--json").json
    assert {key["key_name"] for key in listed} == {"onboarding", "ci"}
    assert made["api_key"] not in json.dumps(listed)
    assert acme("tenants", "keys", "revoke", "acme", made["api_key_id"]).code == 0
    left = acme("tenants", "keys", "ls", "acme", "--json").json
    assert [key["key_name"] for key in left] == ["onboarding"]


def test_sources_are_added_narrowed_and_removed(acme: Cdp, tmp_path: Path) -> None:
    narrowed = ("--tenant", "acme", "--account", "01AB-CD", "--project", "p-1")
    acme("sources", "add", "local.billing.shared", "--files", "later/*.csv", *narrowed)
    first, second = acme("sources", "ls", "--json").json
    assert first["table"] == EXPORT
    assert second["files"] == str(tmp_path / "later/*.csv")
    assert second["tenants"] == [
        {"tenant": "acme", "billing_account_ids": ["01AB-CD"], "project_ids": ["p-1"]}
    ]
    assert acme("sources", "rm", EXPORT).code == 0
    assert len(acme("sources", "ls", "--json").json) == 1


def test_source_of_an_unknown_tenant_is_not_found(acme: Cdp) -> None:
    assert acme("sources", "add", "a.b.c", "--tenant", "nobody").code == 4


def test_limits_are_changed_one_by_one(acme: Cdp) -> None:
    changed = acme("quota", "set", "acme", "--daily", "9", "--json").json
    assert changed["limits"]["daily_limit"] == 9
    assert changed["limits"]["monthly_limit"] == 180
    daily = acme("quota", "show", "acme", "-o", "csv").out
    assert daily.splitlines()[0].startswith("usage_id,tenant_id,usage_date")
    assert "daily          0      9          9" in acme("quota", "show", "acme").out


def test_a_tenant_is_suspended_and_let_in_again(acme: Cdp) -> None:
    assert acme("tenants", "suspend", "acme", "--json").json["status"] == "SUSPENDED"
    refused = acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    assert refused.code == 5
    assert "try: the operator can let it in again: cdp tenants resume acme" in refused.err
    assert acme("tenants", "resume", "acme", "--json").json["is_active"] is True
    assert acme("run", TEMPLATE, "-t", "acme", "--date", DAY).code == 0
    assert acme("tenants", "suspend", "nobody").code == 4


def test_changing_no_limit_is_a_usage_error(acme: Cdp) -> None:
    assert acme("quota", "set", "acme").code == 2


def test_sql_answers_in_every_format(acme: Cdp, monkeypatch: pytest.MonkeyPatch) -> None:
    question = "SELECT 1 AS a, CAST('0.5' AS NUMERIC) AS b"
    assert acme("sql", "-t", "acme", question, "--json").json == [{"a": 1, "b": "0.500000000"}]
    assert acme("sql", "-t", "acme", question, "-o", "jsonl").json["a"] == 1
    monkeypatch.setattr(sys, "stdin", io.StringIO(question))
    assert acme("sql", "-o", "csv").out == "a,b\n1,0.500000000\n"


def test_null_is_told_from_an_empty_text(acme: Cdp) -> None:
    table = acme("sql", "-t", "acme", "SELECT CAST(NULL AS STRING) AS a, '' AS b").out
    assert table.splitlines()[1].split() == ["NULL"]


def test_sql_that_writes_is_refused(acme: Cdp) -> None:
    refused = acme("sql", "-t", "acme", "DELETE FROM billing_cost_daily WHERE TRUE")
    assert refused.code == 2
    assert refused.out == ""


def test_costs_are_exact_and_totalled_by_currency(acme: Cdp) -> None:
    assert acme("run", TEMPLATE, "-t", "acme", "--date", DAY).code == 0
    (item,) = acme("costs", "summary", "-t", "acme", "--group-by", "service", "--json").json
    assert Decimal(item["cost"]) == Decimal("10.100000001")
    assert Decimal(item["net"]) == Decimal("9.050000001")
    shown = acme("costs", "summary", "-t", "acme", "--group-by", "day,service")
    assert shown.code == 0, shown.err
    table = shown.out.splitlines()
    total = ["total", "EUR", "2", "10.100000001", "-1.050000000", "9.050000001"]
    assert table[-1].split() == total
    divided = acme("costs", "summary", "-t", "acme", "--group-by", "credit_type").out
    assert divided.splitlines()[-1].split() == total
    first = acme("costs", "summary", "-t", "acme", "--group-by", "credit_type", "--limit", "1")
    assert (len(first.out.splitlines()), "more follow" in first.err) == (2, True)
    top = acme("costs", "top", "-t", "acme", "--by", "sku", "--limit", "1", "-o", "csv").out
    assert top.splitlines()[1].startswith("CF4E,Cores,EUR,2,")


def test_costs_of_no_day_are_empty_and_not_an_error(acme: Cdp) -> None:
    asked = acme("costs", "summary", "-t", "acme", "--group-by", "day", "-o", "csv")
    assert (asked.code, asked.out) == (0, "day,currency,rows,cost,credits,net\n")


def test_costs_cannot_be_grouped_by_anything(acme: Cdp) -> None:
    refused = acme("costs", "summary", "-t", "acme", "--group-by", "colour")
    assert refused.code == 2
    assert "service" in refused.err


def test_costs_are_filtered(acme: Cdp) -> None:
    acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    kept = acme("costs", "summary", "-t", "acme", "--filter", "service=6F81", "--json").json
    assert kept[0]["rows"] == 2
    dropped = acme("costs", "summary", "-t", "acme", "--filter", "service=other", "--json").json
    assert dropped == []


def test_templates_are_listed_shown_and_described(cdp: Cdp) -> None:
    assert TEMPLATE in [each["template"] for each in cdp("templates", "ls", "--json").json]
    assert "steps:" in cdp("templates", "show", TEMPLATE).out
    assert cdp("templates", "show", TEMPLATE, "--json").json["template_name"] == "cost_billing"
    assert cdp("templates", "show", "gcp/cost/nothing").code == 4
    assert cdp("templates", "schema").json["title"] == "Pipeline template"


def test_template_is_validated_by_name_and_by_file(cdp: Cdp, tmp_path: Path) -> None:
    assert cdp("templates", "validate", TEMPLATE, "--json").json["valid"] is True
    file = tmp_path / "bad.yml"
    file.write_text("pipeline_id: a\nsteps:\n  - step_id: a\n    ps_type: gcp.bq_et\n")
    refused = cdp("templates", "validate", "bad.yml")
    assert refused.code == 2
    assert refused.out == ""
    assert "    4 |     ps_type: gcp.bq_et\n" in refused.err
    assert any(line.strip().startswith("^") for line in refused.err.splitlines())
    faults = cdp("templates", "validate", "bad.yml", "--json").json
    assert {fault["file"] for fault in faults} == {"bad.yml"}
    assert all(fault["line"] > 0 for fault in faults)


def test_a_template_that_is_not_there_is_not_found(cdp: Cdp) -> None:
    assert cdp("templates", "validate", "nothing.yml").code == 4
    assert cdp("templates", "validate", "gcp/cost/nothing").code == 4


def test_settings_are_shown_with_their_origin_and_without_secrets(
    cdp: Cdp, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "cdp.toml").write_text('port = 9000\nadmin_key = "a-very-secret-key"\n')
    shown = cdp("config", "show", "--origin", "--json")
    origins = {row["setting"]: (row["value"], row["origin"]) for row in shown.json}
    assert origins["home"] == (str(home), "environment")
    assert origins["port"] == (9000, "cdp.toml")
    assert origins["host"] == ("127.0.0.1", "default")
    assert "a-very-secret-key" not in shown.out


def test_wrong_setting_is_a_usage_error(cdp: Cdp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDP_PORT", "many")
    refused = cdp("runs", "ls")
    assert refused.code == 2
    assert "CDP_PORT" in refused.err


def test_listing_runs_opens_the_store_alone(acme: Cdp) -> None:
    code = (
        "import sys\n"
        "from convergence.cli.app import main\n"
        "assert main(['runs', 'ls', '--json']) == 0\n"
        "heavy = {'dbos', 'fastapi', 'duckdb', 'sqlglot', 'uvicorn', 'httpx2', 'alembic', 'yaml'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    ended = python("-c", code)
    assert ended.code == 0, ended.err
    assert ended.out == "[]\n"


def test_the_bill_agrees_with_its_source_and_tells_what_was_restated(
    acme: Cdp, export: Path
) -> None:
    assert acme("costs", "reconcile", "-t", "acme", "--json").json == []
    acme("run", "gcp/cost/cost_sync", "-t", "acme", "--date", "2024-11-05")
    (item,) = acme("costs", "reconcile", "-t", "acme", "--month", "202503", "--json").json
    assert (item["is_equal"], item["state"]) == (True, "closed")
    assert (item["cost"], item["difference"]) == (item["source_cost"], "0.000000000")
    assert "202503" in acme("costs", "reconcile", "-t", "acme").out
    assert acme("costs", "diff", "-t", "acme", "--json").json == []
    assert acme("costs", "diff", "-t", "acme", "--since", "soon").code == 2
    earlier = acme("costs", "summary", "-t", "acme", "--as-of", "2024-11-01", "--json")
    assert (earlier.json, "rows were first loaded at 20" in earlier.err) == ([], True)


def test_costs_name_a_day_that_could_not_be_loaded(acme: Cdp, export: Path) -> None:
    sync = ("run", "gcp/cost/cost_sync", "-t", "acme", "--date", "2024-11-05")
    file = export / "a.csv"
    file.write_text("\n".join([HEADER, export_line(DAY, "1", "", "202411")]) + "\n")
    assert acme(*sync).code == 0
    for path in export.iterdir():
        path.unlink()
    (export / "b.csv").write_text(
        "\n".join([HEADER, export_line("2024-11-02", "1", "", "")]) + "\n"
    )
    assert acme(*sync).code == 1
    shown = acme("costs", "summary", "-t", "acme", "--group-by", "day", "-o", "csv")
    assert f"{DAY} lacks rows of " in shown.err
    assert "(source_shrank): cdp runs show" in shown.err
    proof = acme("costs", "reconcile", "-t", "acme", "--json")
    assert (proof.code, [item["is_equal"] for item in proof.json]) == (1, [True, True])
    assert f"{DAY} lacks rows of " in proof.err


def test_a_bill_is_exported_whole_to_a_file_or_to_stdout(acme: Cdp, tmp_path: Path) -> None:
    acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    file = tmp_path / "bill.parquet"
    ended = acme("costs", "export", str(file), "-t", "acme")
    assert ended.code == 0, ended.err
    assert file.read_bytes()[:4] == b"PAR1"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("bill")] == [file.name]
    packed = acme("costs", "export", str(tmp_path / "bill.csv.gz"), "-t", "acme")
    assert (packed.code, list(tmp_path.glob("*.gz"))) == (2, [])
    assert ".gz is no form of a file" in packed.err
    nowhere = acme("costs", "export", str(tmp_path / "no" / "bill.csv"), "-t", "acme")
    assert (nowhere.code, "cannot be written" in nowhere.err) == (2, True)


def test_a_trend_follows_a_service_that_was_renamed(acme: Cdp, export: Path) -> None:
    old, new = (export_line(f"2025-0{month}-01", "5", "", f"20250{month}") for month in (1, 2))
    (export / "a.csv").write_text("\n".join([HEADER, old, new.replace("Compute", "Cloud")]) + "\n")
    acme("run", "gcp/cost/cost_sync", "-t", "acme", "--date", DAY)
    asked = ("costs", "trend", "-t", "acme", "--by", "month", "--group-by", "service", "--json")
    assert [(step["net"], step["change"]) for step in acme(*asked).json] == [
        ("5.000000000", ""),
        ("5.000000000", "0.000000000"),
    ]


def test_a_trend_has_a_step_for_each_period(acme: Cdp) -> None:
    acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    (step,) = acme("costs", "trend", "-t", "acme", "--by", "month", "--json").json
    assert (step["month"], step["net"], step["change"]) == ("2025-03", "9.050000001", "")
    (first,) = acme("costs", "top", "-t", "acme", "--by", "label.env", "--json").json
    assert (first["label_env"], first["share"]) == (None, "100.0 %")
