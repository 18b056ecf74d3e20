from pathlib import Path

import pytest

from tests.cli.conftest import DAY, Cdp, onboard, write_export


def test_new_template_is_good_and_runs(cdp: Cdp, tmp_path: Path) -> None:
    cdp("init")
    made = cdp("templates", "new", "gcp/cost/by_project", "-o", "json")
    assert made.code == 0, made.err
    assert made.json["file"] == "configs/gcp/cost/by_project.yml"
    assert cdp("templates", "validate", "configs/gcp/cost/by_project.yml").code == 0
    onboard(cdp, write_export(tmp_path / "export"))
    for template in ("gcp/cost/cost_billing", "gcp/cost/by_project"):
        ran = cdp("run", template, "--tenant", "acme", "--date", DAY)
        assert ran.code == 0, ran.err
        assert ("source_cost" in ran.out) is (template == "gcp/cost/cost_billing")
    found = cdp("sql", "-t", "acme", "SELECT net FROM cost_by_project", "-o", "csv")
    assert found.out.splitlines()[1] == "9.050000001"


def test_template_that_is_there_stays(cdp: Cdp, tmp_path: Path) -> None:
    cdp("init")
    before = (tmp_path / "configs/gcp/cost/cost_billing.yml").read_text()
    refused = cdp("templates", "new", "gcp/cost/cost_billing")
    assert refused.code == 1
    assert refused.err.splitlines()[-1].startswith("try: cdp templates validate configs/gcp")
    assert (tmp_path / "configs/gcp/cost/cost_billing.yml").read_text() == before


def test_shipped_templates_are_not_written_to(cdp: Cdp) -> None:
    refused = cdp("templates", "new", "gcp/cost/mine")
    assert refused.code == 2
    assert "try: cdp init makes one" in refused.err


@pytest.mark.parametrize("name", ["mine", "../../etc/passwd", "a/b/../../c"])
def test_name_that_is_none_is_refused(cdp: Cdp, name: str) -> None:
    cdp("init")
    assert cdp("templates", "new", name).code in {2, 4}
