"""`cdp quality` and `cdp costs lineage`, without a server."""

from tests.cli.conftest import DAY, TEMPLATE, Cdp


def test_results_are_listed_shown_and_made_again(acme: Cdp) -> None:
    assert acme("run", TEMPLATE, "-t", "acme", "--date", DAY).code == 0
    (result,) = acme("quality", "ls", "-t", "acme", "--json").json
    assert (result["date"], result["overall_status"]) == (DAY, "PASS")
    assert acme("quality", "ls", "-t", "acme", "--status", "FAIL", "--json").json == []
    shown = acme("quality", "show", result["dq_result_id"], "-t", "acme")
    assert shown.out.splitlines()[1].startswith("regex billing_account_id")
    assert "regex billing_account_id: billing_account_id 01AB-CD" in shown.err
    again = acme("quality", "run", "-t", "acme", "--date", DAY, "--json")
    assert again.code == 0, again.err
    (made,) = again.json
    assert made["expectations_passed"] == result["expectations_passed"]
    assert made["load_id"] is None
    assert acme("quality", "show", "none", "-t", "acme").code == 4


def test_cost_is_traced_to_its_load(acme: Cdp) -> None:
    assert acme("run", TEMPLATE, "-t", "acme", "--date", DAY).code == 0
    (origin,) = acme("costs", "lineage", "-t", "acme", "--from", DAY, "--to", DAY, "--json").json
    assert origin["is_equal"]
    assert origin["template"] == TEMPLATE
    assert f"'{DAY}'" in origin["sql"]
    line = acme("costs", "lineage", "-t", "acme", "-o", "csv").out.splitlines()[-1]
    assert origin["load_id"] in line
    assert "PASS" in line
