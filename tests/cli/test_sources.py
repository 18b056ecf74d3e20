"""`cdp sources check`: what each tenant sees of an export, and why one sees nothing."""

from pathlib import Path

from tests.cli.conftest import EXPORT, Cdp
from tests.conftest import HEADER, export_line


def test_a_source_is_told_as_each_tenant_sees_it(acme: Cdp, tmp_path: Path) -> None:
    rows = [("2025-03-01", "1", "", "202503"), ("2025-03-04", "2", "", "202503")]
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "a.csv").write_text("\n".join([HEADER, *(export_line(*row) for row in rows)]))
    acme("sources", "add", "local.billing.more", "--files", f"{folder}/*.csv", "-t", "acme")
    (seen,) = acme("sources", "check", "local.billing.more", "--json").json
    assert (seen["tenant"], seen["kind"], seen["code"]) == ("acme", "gcp_standard", "")
    (reach,) = seen["reaches"]
    assert (reach["currency"], reach["rows"], reach["billing_accounts"]) == ("EUR", 2, 1)
    assert (reach["first_day"], reach["last_day"]) == ("2025-03-01", "2025-03-04")
    assert (reach["days"], reach["days_without_rows"]) == (2, 2)
    assert reach["newest_export_time"] == "2025-03-04T05:00:00Z"


def test_a_source_that_cannot_be_loaded_says_why(acme: Cdp, tmp_path: Path) -> None:
    acme("sources", "add", "local.billing.none", "--files", f"{tmp_path}/none/*.csv", "-t", "acme")
    none = acme("sources", "check", "local.billing.none")
    assert (none.code, "source_missing" in none.out) == (1, True)
    assert "has no rows that acme may see" in none.err
    assert acme("sources", "check", "local.billing.unknown").code == 4
    assert acme("sources", "check", EXPORT).code == 0
