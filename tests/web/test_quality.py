"""The pages of quality and of lineage."""

import re

from tests.web.conftest import Bill
from tests.web.test_overview import text_of


def test_checks_that_fail_come_first_with_rows_that_fail(bill: Bill) -> None:
    page = bill.browser.get("/quality").text
    read = text_of(page)
    assert read.index("currency_single currency") < read.index("no_future_dates usage_start_time")
    days = re.search(r"currency_single currency\s+\w+\s+(\d) of (\d) days pass", read)
    assert days, read[:2000]
    assert int(days[1]) < int(days[2])
    assert "regex billing_account_id: 3 rows fail, expected 100 % of rows (info)" in read
    assert "&lt;script&gt;" in page
    assert "<script>" not in page[page.index("<main") :]


def test_the_newest_day_of_checks_stands_first(bill: Bill) -> None:
    days = re.findall(r"<th[^>]*>(\d+ Nov)</th>", bill.browser.get("/quality").text)
    assert len(days) > 1
    assert days == sorted(days, key=lambda day: -int(day.split()[0]))


def test_number_leads_to_its_load_and_back_to_its_run(bill: Bill) -> None:
    costs = bill.browser.get("/costs?from=2024-11-04&to=2024-11-04").text
    link, *others = sorted(set(re.findall(r'href="(/lineage[^"]*)"', costs)))
    assert [each.rpartition("filter=")[2] for each in others] == [
        "service%3DCOMP",
        "service%3DSTOR",
    ]
    page = bill.browser.get(link.replace("&amp;", "&")).text
    read = text_of(page)
    assert "equal to its source" in read
    assert bill.runs[-1].run_id in read
    assert bill.runs[-1].template_hash in read
    assert "a.csv" in read
    assert "FROM `billing.exports.gcp_billing_export_v1_TEST`" in read
    assert "22 of 24 checks passed" in read
    for other in others:
        assert bill.runs[-1].run_id in bill.browser.get(other.replace("&amp;", "&")).text


def test_proof_of_the_overview_leads_to_the_loads_of_the_month(bill: Bill) -> None:
    links = set(re.findall(r'href="(/lineage[^"]*)"', bill.browser.get("/").text))
    assert links == {
        "/lineage?from=2024-11-01&amp;to=2024-11-04",
        "/lineage?from=2024-11-04&amp;to=2024-11-04",
    }


def test_lineage_of_a_filter_shows_its_rows_alone(bill: Bill) -> None:
    page = bill.browser.get("/lineage?from=2024-11-04&to=2024-11-04&filter=service%3DSTOR").text
    read = text_of(page)
    assert "These rows, USD 20.00 in 1 row" in read
    assert "EUR" not in read[: read.index("Source")]


def test_days_that_are_not_there_and_wrong_places_are_told(bill: Bill) -> None:
    empty = bill.browser.get("/lineage?from=2024-09-01&to=2024-09-02").text
    assert "nothing to trace" in text_of(empty)
    assert bill.browser.get("/lineage?before=x").status_code == 422
    assert "Nothing was checked yet" in text_of(bill.browser.get("/quality?table=none").text)
