"""`cdp plan` and `cdp run --dry-run`."""

from tests.cli.conftest import DAY, EXPORT, TEMPLATE, Cdp


def test_a_plan_shows_sql_files_values_and_quota(acme: Cdp) -> None:
    shown = acme("plan", TEMPLATE, "-t", "acme", "--date", DAY)
    assert shown.code == 0
    assert "it would run" in shown.out
    assert "quota daily: 0 of" in shown.out
    values = [line.split()[:2] for line in shown.out.splitlines() if "only source" in line]
    assert values == [["source_billing_table", EXPORT]]
    assert "what the warehouse runs:" not in shown.out
    planned = acme("plan", TEMPLATE, "-t", "acme", "--date", DAY, "--json").json
    assert planned["steps"][0]["reads"][0]["files"] == 1
    with_sql = acme("plan", TEMPLATE, "-t", "acme", "--date", DAY, "--sql").out
    assert f"what the warehouse runs:\n{planned['steps'][0]['sql']}" in with_sql
    assert acme("runs", "ls", "--json").json == []


def test_a_dry_run_is_a_plan(acme: Cdp) -> None:
    asked = (TEMPLATE, "-t", "acme", "--date", DAY, "--json")
    assert acme("run", *asked, "--dry-run").json == acme("plan", *asked).json
    assert acme("runs", "ls", "--json").json == []


def test_a_plan_of_what_cannot_be_asked_is_refused(acme: Cdp) -> None:
    assert acme("plan", "gcp/cost/absent", "-t", "acme").code == 4
    assert acme("plan", TEMPLATE, "-t", "acme", "--date", "yesterday-ish").code == 2
    assert acme("plan", TEMPLATE, "-t", "acme", "--var", "nope=1").code == 2
